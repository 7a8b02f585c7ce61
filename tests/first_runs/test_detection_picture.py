from PIL import Image

from dr2net_mm.first_runs.detection_picture import (
    DETECTION_COLOUR,
    TRUTH_COLOUR,
    detection_picture,
)


def test_truth_is_drawn_on_the_left_and_detections_on_the_right():
    image = Image.new('RGB', (100, 80), 'black')
    picture = detection_picture(image, [(10, 20, 30, 40)], [(50, 20, 70, 40)], scale=2)

    assert picture.size == (400, 180)
    # Twice the coordinates, below 20 pixels of caption.
    assert picture.getpixel((20, 60 + 10)) == TRUTH_COLOUR
    assert picture.getpixel((200 + 100, 60 + 10)) == DETECTION_COLOUR
    left = picture.crop((0, 20, 200, 180))
    right = picture.crop((200, 20, 400, 180))
    assert {colour for _, colour in left.getcolors()} == {(0, 0, 0), TRUTH_COLOUR}
    assert {colour for _, colour in right.getcolors()} == {(0, 0, 0), DETECTION_COLOUR}


def test_an_image_without_boxes_is_drawn_too():
    picture = detection_picture(Image.new('RGB', (10, 10)), [], [], scale=1)
    assert picture.size == (20, 30)
