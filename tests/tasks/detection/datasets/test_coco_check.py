"""What stops or misleads mmdet is an error; what it leaves out silently is counted."""

import contextlib
import io
import math

import pytest

from dr2net_mm.tasks.detection.datasets.coco_check import check_coco_file, evenly
from dr2net_mm.tasks.detection.datasets.coco_findings import CocoUse, Entry

NAN, INF = math.nan, math.inf


def built(content, folder):
    """Boxes that mmdet's own data set makes of the content."""
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = CocoDataset(
            ann_file=content.write(folder),
            data_prefix=dict(img=''),
            metainfo=dict(classes=('cat', 'dog', 'owl')),
            serialize_data=False,
        )
    return [
        (sample['img_id'], instance['bbox_label'])
        for sample in dataset.data_list
        for instance in sample['instances']
    ]


@pytest.mark.parametrize('use', [dict(), dict(trained=False, evaluated=True)])
def test_a_good_file_has_no_finding(findings, use):
    assert findings(**use) == []


def test_what_mmdet_accepts_is_accepted(content, findings, tmp_path):
    # Other ids in the same order, crowds, boxes over the border, no segmentation.
    for category in content['categories']:
        category['id'] += 40
    for annotation in content['annotations']:
        annotation['category_id'] += 40
    content['annotations'][0].pop('iscrowd')
    content['annotations'][1].update(iscrowd=1)
    content['annotations'][2].update(bbox=[90, 70.5, 30, 40], area=NAN)
    content.add(ignore=1, bbox=None)
    content['categories'].append(dict(id=1, name='animal'))
    assert findings() == []
    assert built(content, tmp_path) == [(1, 0), (2, 1), (3, 2)]


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('bbox', None, 'bbox None'),
        ('bbox', '1,2,3,4', "bbox '1,2,3,4'"),
        ('bbox', [1, 2, 3, 4, 5], 'bbox [1, 2, 3, 4, 5]'),
        ('bbox', ['1', '2', '3', '4'], 'four numbers'),
        ('bbox', ..., 'no bbox'),
        ('bbox', [0, 0, INF, 4], '[0, 0, inf, 4]'),
        ('area', ..., 'no area'),
        ('area', None, 'area None'),
        ('iscrowd', '0', "iscrowd '0'"),
        ('image_id', '1', 'as a number'),
        ('category_id', '1', 'as a number'),
        ('category_id', ..., 'has no category_id'),
        ('id', ..., 'has no id'),
        ('id', 8, 'annotation id 8 stands more than once'),
    ],
)
def test_a_wrong_annotation_is_named(content, findings, key, value, message):
    if value is ...:
        del content['annotations'][0][key]
    else:
        content['annotations'][0][key] = value
    finding = findings()[0]
    assert finding.is_error and message in finding.message
    assert 'coco.json: ' in finding.message
    if 'more than once' not in message:
        assert 'annotations[0] (' in finding.message


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('iscrowd', ..., 'no iscrowd: training would run'),
        ('iscrowd', None, 'iscrowd null'),
        ('id', 'seven', 'a text as id'),
        ('id', 0, 'has the id 0'),
        ('ignore', 1, '1 annotations with "ignore"'),
    ],
)
def test_the_evaluation_asks_for_more(content, findings, key, value, message):
    if value is ...:
        del content['annotations'][0][key]
    else:
        content['annotations'][0][key] = value
    assert findings() == []
    (finding,) = findings(trained=False, evaluated=True)
    assert message in finding.message
    assert finding.is_error == (value != 0 and key != 'ignore')


@pytest.mark.parametrize(
    ('list_name', 'key', 'value', 'message'),
    [
        ('images', 'width', ..., 'images[0] (id 1) has no width'),
        ('images', 'width', '100', "has width '100'"),
        ('images', 'height', 0, 'has height 0'),
        ('images', 'file_name', ..., 'has no file_name'),
        ('images', 'id', '1', 'annotations[0] (id 7, image_id 1) has image_id 1'),
        ('images', 'id', 2, 'image id 2 stands more than once'),
        ('categories', 'name', ..., 'categories[0] (id 1) has no name'),
        ('categories', 'id', 2, "category id 2 stands for ['cat', 'dog']"),
        ('categories', 'name', 'Cat ', "'cat', are not among the 3 categories (but"),
        ('categories', 'name', 'dog', "lists the class 'dog' 2 times"),
    ],
)
def test_a_wrong_image_or_category_is_named(
    content, findings, list_name, key, value, message
):
    if value is ...:
        del content[list_name][0][key]
    else:
        content[list_name][0][key] = value
    finding = findings()[0]
    assert finding.is_error and message in finding.message


@pytest.mark.parametrize('key', ['images', 'categories'])
@pytest.mark.parametrize('value', [..., None, {'1': {}}])
def test_a_missing_list_is_named(content, findings, key, value):
    if value is ...:
        del content[key]
    else:
        content[key] = value
    assert f'the list "{key}"' in findings()[0].message


def test_an_empty_list_of_categories_is_named(content, findings):
    content['categories'] = []
    assert '"categories" is empty' in findings()[0].message


def test_a_byte_order_mark_is_named(tmp_path):
    path = tmp_path / 'coco.json'
    path.write_bytes(b'\xef\xbb\xbf{}')
    message = check_coco_file(str(path), CocoUse()).findings[0].message
    assert 'without the byte order mark' in message


def test_ids_that_are_texts_in_all_lists_are_taken(content, findings, tmp_path):
    for image in content['images']:
        image['id'] = f'image {image["id"]}'
    for annotation in content['annotations']:
        annotation['image_id'] = f'image {annotation["image_id"]}'
    assert findings() == [] == findings(trained=False, evaluated=True)
    assert [label for _, label in built(content, tmp_path)] == [0, 1, 2]


def test_files_without_annotations_are_for_testing_only(content, findings):
    del content['annotations']
    assert 'none of 0 annotations' in findings()[0].message
    assert findings(trained=False) == []
    assert findings(needs_boxes=False) == []


@pytest.mark.parametrize('text', ['{"images": [', '[1]', '{"images": [3]}'])
def test_a_file_of_another_kind_is_named(tmp_path, text):
    path = tmp_path / 'coco.json'
    path.write_text(text)
    finding = check_coco_file(str(path), CocoUse()).findings[0]
    assert finding.is_error and str(path) in finding.message


def test_what_is_left_out_is_counted_as_mmdet_leaves_it_out(
    content, findings, tmp_path
):
    boxes = dict(nan=[NAN, 1, 5, 5], nan_width=[1, 1, NAN, 5], zero=[5, 5, 0, 4],
                 negative=[50, 50, -10, 5], thin=[5, 5, 0.5, 9], right=[100, 5, 9, 9],
                 above=[5, -9, 9, 9])  # fmt: skip
    for box in boxes.values():
        content.add(bbox=box)
    content.add(area=0)
    content.add(area=-3)
    content.add(image_id=99)
    content.add(category_id=77)
    assert len(built(content, tmp_path)) == 3
    found = findings()
    assert not any(finding.is_error for finding in found)
    text = ' '.join(finding.message for finding in found)
    assert '1 of 14 annotations have a image_id' in text
    assert '1 of 14 annotations have a category_id' in text
    assert '9 of 13 boxes are left out: 2 NaN (first annotations[3] (id 103' in text
    for part in ('2 a width or height of zero', '2 outside', '1 less than', '2 an are'):
        assert part in text
    assert 'missed objects' not in text
    text = findings(trained=False, evaluated=True)[2].message
    assert 'count as missed objects' in text


def test_a_file_without_a_usable_box_is_an_error(content, findings):
    for annotation in content['annotations']:
        annotation['bbox'] = [0.1, 0.1, 0.5, 0.5]
    assert 'all lie within 0 and 1: give them in pixels' in findings()[-1].message
    for annotation in content['annotations']:
        annotation.update(bbox=[10, 10, 20, 20], iscrowd=1)
    assert findings()[-1].is_error


def test_boxes_given_by_two_corners_are_suspected(content, findings):
    for annotation in content['annotations'][:2]:
        annotation['bbox'] = [60, 50, 95, 75]
    assert 'Are they [x1, y1, x2, y2]?' in findings()[0].message


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (('dog', 'cat', 'owl'), "label 0 is 'cat' by the order"),
        (('cat', 'dog', 'owl', 'emu'), "'emu', are not among the 3"),
        (('cat', 'dog', 'dog', 'owl'), "'dog' more than once"),
        ('cat', "write classes=('cat',)"),
    ],
)
def test_other_classes_than_in_the_file_are_refused(findings, classes, message):
    (finding,) = findings(classes=classes)
    assert finding.is_error and message in finding.message


def test_categories_in_another_order_exchange_labels(content, findings, tmp_path):
    content['categories'].reverse()
    assert built(content, tmp_path) == [(1, 2), (2, 1), (3, 0)]
    (finding,) = findings()
    assert "metainfo=dict(classes=('owl', 'dog', 'cat'))" in finding.message


def test_a_parent_category_shifts_labels(content, findings, tmp_path):
    content['categories'].insert(0, dict(id=0, name='cat', supercategory='none'))
    assert built(content, tmp_path) == [(1, 1), (2, 2), (3, 3)]
    (finding,) = findings()
    assert 'id 0 with 0 boxes and id 1 with 1 boxes' in finding.message
    assert finding.is_error


def test_fewer_classes_are_a_choice_and_counted(findings):
    (finding,) = findings(classes=('cat', 'owl'))
    assert '1 of 3 boxes are of categories that metainfo does not name' in (
        finding.message
    )
    assert not finding.is_error


def test_defaults_of_mmdet_are_told_from_classes_of_the_config(findings):
    (finding,) = findings(classes=('person', 'car'), default_classes=True)
    assert 'sets no metainfo' in finding.message
    assert "metainfo=dict(classes=('cat', 'dog', 'owl'))" in finding.message


@pytest.mark.parametrize(
    ('number', 'use', 'is_error'),
    [
        (2, dict(trained=True), True),
        (4, dict(trained=True), False),
        (2, dict(trained=False, evaluated=True), False),
        (4, dict(trained=False, evaluated=True), True),
    ],
)
def test_a_head_of_another_size_is_refused_where_it_fails(
    findings, number, use, is_error
):
    found = findings(num_classes=(('model.bbox_head.num_classes', number),), **use)
    assert len(found) == is_error
    assert all(f'num_classes={number}' in finding.message for finding in found)


def test_empty_images_that_a_filter_leaves_out_are_counted(content, findings):
    content['annotations'].pop()
    assert findings() == []
    assert '1 of 3 images without annotations' in findings(drops_empty=True)[0].message


def test_a_sample_is_spread_over_the_file():
    entries = [Entry(str(number), 1, 1) for number in range(10)]
    assert [e.file_name for e in evenly(entries, 4)] == ['0', '2', '5', '7']
    assert evenly(entries, 10) == entries
