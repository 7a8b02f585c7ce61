from PIL import Image

from dr2net_mm.first_runs.detection_picture import (
    DETECTION_COLOR,
    TRUTH_COLOR,
    detection_picture,
)


def test_truth_is_drawn_on_the_left_and_detections_on_the_right():
    image = Image.new('RGB', (100, 80), 'black')
    picture = detection_picture(image, [(10, 20, 30, 40)], [(50, 20, 70, 40)], scale=2)

    assert picture.size == (400, 180)
    # Twice the coordinates, below 20 pixels of caption.
    assert picture.getpixel((20, 60 + 10)) == TRUTH_COLOR
    assert picture.getpixel((200 + 100, 60 + 10)) == DETECTION_COLOR
    left = picture.crop((0, 20, 200, 180))
    right = picture.crop((200, 20, 400, 180))
    assert {color for _, color in left.getcolors()} == {(0, 0, 0), TRUTH_COLOR}
    assert {color for _, color in right.getcolors()} == {(0, 0, 0), DETECTION_COLOR}


def test_an_image_without_boxes_is_drawn_too():
    picture = detection_picture(Image.new('RGB', (10, 10)), [], [], scale=1)
    assert picture.size == (20, 30)
