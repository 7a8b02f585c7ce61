"""Annotations of a COCO-format file: what stops mmdet, and what it leaves out silently.

The rules are those of ``CocoDataset.parse_data_info`` and of pycocotools' ``COCOeval``.
"""

from itertools import chain
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from .coco_classes import labels_of
from .coco_findings import (
    CocoUse,
    Finding,
    column,
    is_missing,
    is_number,
    name_entry,
    only,
    others,
    shown,
)
from .coco_structure import of_other_type
from .coco_use import Annotations, check_evaluation, check_use

# Share of boxes beyond their image from which two corners are suspected.
_SUSPICIOUS = 0.5


def check_annotations(content: dict, path: str, use: CocoUse) -> List[Finding]:
    """Check references, fields and boxes of the annotations."""
    everything = content.get('annotations', [])
    images = {image['id']: image for image in content['images']}
    categories = {category['id']: category for category in content['categories']}
    found = []
    for key, known, kind in (
        ('image_id', images, 'images'),
        ('category_id', categories, 'categories'),
    ):
        found += _check_references(everything, key, known, kind)
    numbers = [
        number
        for number, item in enumerate(everything)
        if item['image_id'] in images and not item.get('ignore', False)
    ]
    read = Annotations([everything[number] for number in numbers], numbers)
    names = labels_of(content, use.classes)
    wanted = {c['id'] for c in content['categories'] if c['name'] in names}
    errors = _check_fields(read, wanted, use)
    if errors or any(finding.is_error for finding in found):
        found += [Finding(True, message) for message in errors]
    else:
        found += _check_boxes(read, images, wanted, use)
        if use.evaluated:
            found += check_evaluation(everything, images, wanted)
    return [Finding(f.is_error, f'{path}: {f.message}') for f in found]


def _check_references(
    annotations: List[dict], key: str, known: Dict[Any, dict], kind: str
) -> List[Finding]:
    values = column(annotations, key)
    unknown = [number for number, value in enumerate(values) if value not in known]
    if not unknown:
        return []
    for number in unknown:
        value = values[number]
        if of_other_type(value, known):
            count = sum(of_other_type(values[n], known) for n in unknown)
            entry = name_entry('annotations', number, annotations[number])
            return [
                Finding(
                    True,
                    f'{entry} has {key} {shown(value)}, which "{kind}" knows as '
                    f'{"a number" if isinstance(value, str) else "a text"}'
                    f'{others(count)}: its box would be left out silently; write ids '
                    'as numbers in all lists',
                )
            ]
    entry = name_entry('annotations', unknown[0], annotations[unknown[0]])
    return [
        Finding(
            False,
            f'{len(unknown)} of {len(values)} annotations have a {key} that "{kind}" '
            f'does not list and are left out, the first {entry}: {key} '
            f'{shown(values[unknown[0]])}; add the entry to "{kind}", or remove them',
        )
    ]


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(is_number, value))


def _all_boxes(values: Sequence[Any]) -> bool:
    """Return whether all are boxes, in a second for a million of them."""
    return (
        only(values, list)
        and set(map(len, values)) <= {4}
        and only(chain.from_iterable(values), int, float)
    )


def _check_fields(read: Annotations, wanted: set, use: CocoUse) -> List[str]:
    """Find wrong boxes, areas and crowd marks, which end or spoil a run."""
    found = []

    def check(key: str, fits: Callable[[Any], bool], remedy: str) -> None:
        values = column(read.items, key)
        if key != 'bbox' and only(values, int, float):
            return
        wrong = [number for number, value in enumerate(values) if not fits(value)]
        if wrong:
            value = values[wrong[0]]
            state = 'no ' + key if is_missing(value) else f'{key} {shown(value)}'
            found.append(
                f'{read.name(wrong[0])} has {state}{others(len(wrong))}; {remedy}'
            )

    if not _all_boxes(column(read.items, 'bbox')):
        check(
            'bbox',
            _is_box,
            'a box is a list of four numbers, [x, y, width, height] in pixels of its '
            'upper left corner and size: correct or remove the annotation',
        )
    check(
        'area',
        is_number,
        'mmdet reads the area of every annotation: give it in pixels, or '
        'width * height of the box',
    )
    check(
        'iscrowd',
        lambda value: not isinstance(value, (str, list, dict)),
        'it is 0 or 1: mmdet takes any text for 1 and would ignore the box',
    )
    if use.evaluated and not found:
        # Of these pycocotools reads it without a default.
        items = [x for x in read.items if x['category_id'] in wanted]
        wrong = [x for x in items if not isinstance(x.get('iscrowd'), (int, float))]
        if wrong:
            number = read.numbers[read.items.index(wrong[0])]
            state = 'iscrowd null' if 'iscrowd' in wrong[0] else 'no iscrowd'
            found.append(
                f'{name_entry("annotations", number, wrong[0])} has {state}'
                f'{others(len(wrong))}: training would run and the first validation '
                'stop with an error; give every annotation "iscrowd": 0 (1 for a group)'
            )
    return found


def _check_boxes(
    read: Annotations, images: Dict[Any, dict], wanted: set, use: CocoUse
) -> List[Finding]:
    total = len(read.items)
    boxes = np.array(column(read.items, 'bbox'), dtype=np.float64).reshape(-1, 4)
    area = np.array(column(read.items, 'area'), dtype=np.float64)
    sizes = [images[item['image_id']] for item in read.items]
    width = np.array([size['width'] for size in sizes], dtype=np.float64)
    height = np.array([size['height'] for size in sizes], dtype=np.float64)
    x, y, w, h = boxes.T
    not_a_number = np.isnan(boxes).any(axis=1)
    infinite = np.isinf(boxes).any(axis=1)
    if infinite.any():
        first = int(np.flatnonzero(infinite)[0])
        text = (
            f'{read.name(first)} has the box {shown(read.items[first]["bbox"])}'
            f'{others(int(infinite.sum()))}: it would be trained on; correct it'
        )
        return [Finding(True, text)]
    inside = (np.minimum(x + w, width) > np.maximum(x, 0)) & (
        np.minimum(y + h, height) > np.maximum(y, 0)
    )
    reasons = {
        'NaN': not_a_number,
        'a width or height of zero or less': ~not_a_number & ((w <= 0) | (h <= 0)),
        'outside the image': ~inside,
        'less than a pixel wide or high': (w < 1) | (h < 1),
        'an area of zero or less': area <= 0,
    }
    left = np.ones(total, dtype=bool)
    parts = []
    for reason, applies in reasons.items():
        chosen = np.flatnonzero(left & applies)
        left[chosen] = False
        if len(chosen):
            parts.append(f'{len(chosen)} {reason} (first {read.name(int(chosen[0]))})')
    found = []
    if parts:
        missed = ', and count as missed objects in the evaluation'
        found.append(
            Finding(
                False,
                f'{total - int(left.sum())} of {total} boxes are left out: '
                f'{"; ".join(parts)}{missed if use.evaluated else ""}; correct or '
                'remove them',
            )
        )
    of_class = np.array([i['category_id'] in wanted for i in read.items], dtype=bool)
    found += check_use(read, left, of_class, images, boxes, use)
    beyond = left & ((x + w > width + 1) | (y + h > height + 1))
    if left.any() and beyond.sum() >= max(2, _SUSPICIOUS * left.sum()):
        first = int(np.flatnonzero(beyond)[0])
        found.append(
            Finding(
                False,
                f'{int(beyond.sum())} of {int(left.sum())} boxes reach beyond the '
                f'right or lower border of their image, the first {read.name(first)}: '
                f'{shown(read.items[first]["bbox"])}. Are they [x1, y1, x2, y2]? '
                "COCO's boxes are [x, y, width, height]",
            )
        )
    return found
