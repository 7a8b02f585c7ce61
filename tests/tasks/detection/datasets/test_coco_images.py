"""Image files are compared with the file as the pipeline decodes them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dr2net_mm.tasks.detection.datasets.coco_findings import Entry
from dr2net_mm.tasks.detection.datasets.coco_images import Loader, check_images

ORIENTATION = 0x112
UNTURNED = Loader('color_ignore_orientation')


def look(folder, name, width, height, loader=Loader()):
    entries = [Entry(name, width, height)]
    return check_images(entries, str(folder), loader, 'coco.json')


def save(folder, name, orientation=1, size=(60, 40)):
    image = Image.new('RGB', size, (200, 100, 50))
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    image.save(str(folder / name), exif=exif)


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.tif', 'a.bmp'])
def test_images_of_the_stated_size_pass(tmp_path, name):
    Image.new('RGB', (60, 40)).save(str(tmp_path / name))
    assert look(tmp_path, name, 60, 40) == []
    assert look(tmp_path, name, 60.0, 40.0) == []


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
def test_a_turned_image_must_be_annotated_as_it_is_loaded(tmp_path, name):
    save(tmp_path, name, orientation=6)
    assert look(tmp_path, name, 40, 60) == []
    (finding,) = look(tmp_path, name, 60, 40)
    assert finding.is_error and 'is loaded as 40 x 60' in finding.message
    assert "color_type='color_ignore_orientation'" in finding.message
    # The remedy is one.
    assert look(tmp_path, name, 60, 40, UNTURNED) == []
    assert look(tmp_path, name, 40, 60, UNTURNED)[0].is_error


def test_decoders_that_do_not_turn_an_image_are_known(tmp_path):
    save(tmp_path, 'a.webp', orientation=6)
    assert look(tmp_path, 'a.webp', 60, 40) == []
    assert look(tmp_path, 'a.webp', 60, 40, Loader(imdecode_backend='pillow'))


@pytest.mark.parametrize(('orientation', 'size'), [(3, (60, 40)), (6, (50, 50))])
def test_an_orientation_that_sizes_do_not_show_is_a_note(tmp_path, orientation, size):
    save(tmp_path, 'a.jpg', orientation, size)
    (finding,) = look(tmp_path, 'a.jpg', *size)
    assert not finding.is_error and f'orientation {orientation}' in finding.message


def test_another_size_is_an_error(tmp_path):
    save(tmp_path, 'a.png')
    (finding,) = look(tmp_path, 'a.png', 120, 80)
    assert finding.is_error and 'is 60 x 40 as it is loaded' in finding.message


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
@pytest.mark.parametrize('channels', [1, 3])
def test_images_of_12_of_16_bits_are_almost_black(tmp_path, name, channels):
    image = np.random.default_rng(0).integers(0, 4096, (40, 60, channels), np.uint16)
    cv2.imwrite(str(tmp_path / name), image)
    (finding,) = look(tmp_path, name, 60, 40)
    assert finding.is_error and 'has 16 bits a channel' in finding.message
    assert 'almost black' in finding.message
    cv2.imwrite(str(tmp_path / name), image * 16)
    assert look(tmp_path, name, 60, 40) == []
    assert look(tmp_path, name, 60, 40, Loader('unchanged')) == []


def test_pillow_makes_them_almost_white(tmp_path):
    image = np.random.default_rng(0).integers(256, 4096, (40, 60), np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    (finding,) = look(tmp_path, 'a.png', 60, 40, Loader(imdecode_backend='pillow'))
    assert 'almost white' in finding.message


@pytest.mark.parametrize(
    ('content', 'message'),
    [(None, 'does not exist'), (b'', 'cannot be read'), (b'text', 'cannot be read')],
)
def test_missing_and_damaged_files_are_named_and_counted(tmp_path, content, message):
    names = ['a.png', 'b.png']
    for name in names:
        if content is not None:
            (tmp_path / name).write_bytes(content)
    entries = [Entry(name, 60, 40) for name in names]
    (finding,) = check_images(entries, str(tmp_path), Loader(), 'coco.json')
    assert message in finding.message and str(tmp_path / 'a.png') in finding.message
    assert '(and 1 more entries)' in finding.message
