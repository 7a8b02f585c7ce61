import json

import pytest
from PIL import Image

from dr2net_mm.errors import DataFileError
from dr2net_mm.first_runs.data.coco_tiles import (
    AnnotatedImage,
    Box,
    boxes_in_tile,
    missing_tiles,
    read_voc_boxes,
    tile_origins,
    write_coco_tiles,
    write_columns,
)


def voc(*boxes, width=100, height=80):
    objects = ''.join(
        '<object><name>Tree</name><bndbox>'
        f'<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>'
        '</bndbox></object>'
        for a, b, c, d in boxes
    )
    size = f'<size><width>{width}</width><height>{height}</height></size>'
    return f'<annotation>{size}{objects}</annotation>'.encode()


@pytest.mark.parametrize(
    ('length', 'expected'),
    [(400, [0]), (300, [0]), (401, [0, 1]), (800, [0, 400]), (1035, [0, 400, 635])],
)
def test_tiles_cover_the_length_and_the_last_one_ends_flush(length, expected):
    assert tile_origins(length, 400) == expected


def test_a_box_cut_by_the_tile_border_is_clipped_and_shifted():
    # 40 x 20 px, of which the right 30 x 20 px lie in the tile: 75 %.
    found = boxes_in_tile([Box(390, 10, 430, 30)], Box(400, 0, 800, 400))
    assert found == [(Box(0, 10, 30, 30), False)]


@pytest.mark.parametrize(('x_min', 'ignore'), [(380, False), (379, True), (361, True)])
def test_a_box_with_less_than_half_in_the_tile_is_ignored(x_min, ignore):
    # 40 px wide: 20, 19 and 1 px of it lie right of x = 400.
    (found,) = boxes_in_tile([Box(x_min, 0, x_min + 40, 10)], Box(400, 0, 800, 400))
    assert found.ignore is ignore
    assert found.box == Box(0, 0, x_min - 360, 10)


def test_a_box_that_only_touches_the_tile_is_left_out():
    assert boxes_in_tile([Box(0, 0, 400, 10)], Box(400, 0, 800, 400)) == []


def test_voc_boxes_are_read_in_order():
    size, boxes = read_voc_boxes(voc((1, 2, 30, 40), (5, 6, 7, 8)), 'a.xml')
    assert size == (100, 80)
    assert boxes == [Box(1, 2, 30, 40), Box(5, 6, 7, 8)]


@pytest.mark.parametrize('box', [(10, 10, 10, 20), (10, 10, 101, 20), (-1, 0, 5, 5)])
def test_an_empty_box_or_one_outside_the_image_is_refused_by_name(box):
    with pytest.raises(DataFileError, match=r'a\.xml.*100x80'):
        read_voc_boxes(voc(box), 'a.xml')


@pytest.mark.parametrize('xml', [b'', b'no xml', b'<annotation></annotation>'])
def test_what_is_not_a_voc_annotation_is_refused_by_name(xml):
    with pytest.raises(DataFileError, match=r'a\.xml is not a Pascal VOC'):
        read_voc_boxes(xml, 'a.xml')


def test_written_tiles_hold_the_pixels_and_boxes_of_their_place(tmp_path):
    image = Image.new('RGB', (50, 30), 'black')
    image.paste('red', (32, 4, 40, 12))
    source = AnnotatedImage('field', image, [Box(32, 4, 40, 12)])
    counts = write_coco_tiles(
        [source], tmp_path / 'tiles', tmp_path / 'a.json', 'tree', tile=30
    )

    # Origins 0 and 20: only the second tile shows the box, at x = 12.
    coco = json.loads((tmp_path / 'a.json').read_text())
    names = [image['file_name'] for image in coco['images']]
    assert names == ['field_0_0.png', 'field_20_0.png']
    assert counts == dict(images=2, objects=1, ignored=0)
    (annotation,) = coco['annotations']
    assert annotation['image_id'] == 2
    assert annotation['bbox'] == [12, 4, 8, 8]
    assert annotation['area'] == 64
    tile = Image.open(tmp_path / 'tiles' / 'field_20_0.png')
    assert tile.size == (30, 30)
    assert tile.crop((12, 4, 20, 12)).getcolors() == [(64, (255, 0, 0))]


def test_the_annotation_file_is_one_that_pycocotools_reads(tmp_path):
    coco_api = pytest.importorskip('pycocotools.coco')
    source = AnnotatedImage('f', Image.new('RGB', (20, 20)), [Box(1, 1, 5, 5)])
    write_coco_tiles([source], tmp_path, tmp_path / 'a.json', 'tree')
    coco = coco_api.COCO(str(tmp_path / 'a.json'))
    assert coco.loadAnns(coco.getAnnIds(imgIds=[1], iscrowd=False))[0]['area'] == 16


def test_missing_tiles_are_named(tmp_path):
    source = AnnotatedImage('f', Image.new('RGB', (20, 20)), [])
    write_coco_tiles([source], tmp_path, tmp_path / 'a.json', 'tree')
    assert missing_tiles(tmp_path, tmp_path / 'a.json') == []
    (tmp_path / 'f_0_0.png').unlink()
    assert missing_tiles(tmp_path, tmp_path / 'a.json') == ['f_0_0.png']
    assert missing_tiles(tmp_path, tmp_path / 'b.json') == ['b.json']


def test_a_part_holds_the_tiles_of_its_columns_and_their_boxes(tmp_path):
    image = Image.new('RGB', (1000, 100))
    boxes = [Box(10, 10, 30, 30), Box(610, 10, 640, 30), Box(950, 10, 980, 30)]
    whole = tmp_path / 'whole.json'
    write_coco_tiles([AnnotatedImage('a_b', image, boxes)], tmp_path, whole, 'tree')
    part = tmp_path / 'part.json'
    assert write_columns(whole, part, 600, None) == 1
    found = json.loads(part.read_text())
    assert [one['file_name'] for one in found['images']] == ['a_b_600_0.png']
    assert [one['bbox'][0] for one in found['annotations']] == [10, 350]
    assert write_columns(whole, part, 0, 400) == 2
