"""Use that a run makes of the annotations of a COCO-format file."""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from .coco_findings import CocoUse, Finding, name_entry


class Annotations(NamedTuple):
    """Annotations that mmdet reads, with their numbers in the file."""

    items: List[dict]
    numbers: Sequence[int]

    def name(self, position: int) -> str:
        """Name an annotation by its place in the file and its ids."""
        return name_entry(
            'annotations', int(self.numbers[position]), self.items[position]
        )


def check_use(
    read: Annotations,
    left: np.ndarray,
    of_class: np.ndarray,
    images: Dict[Any, dict],
    boxes: np.ndarray,
    use: CocoUse,
) -> List[Finding]:
    """Find boxes of other classes, files without a usable box, empty images."""
    found = []
    foreign = int((left & ~of_class).sum())
    if foreign:
        found.append(
            Finding(
                False,
                f'{foreign} of {len(left)} boxes are of categories that metainfo does '
                'not name, and are left out',
            )
        )
    usable = left & of_class
    learnt = np.array([not i.get('iscrowd', False) for i in read.items], dtype=bool)
    if use.trained and use.needs_boxes and not (usable & learnt).any():
        if len(left) and (boxes[:, :2] + boxes[:, 2:] <= 1).all():
            hint = 'all lie within 0 and 1: give them in pixels'
        elif len(left):
            hint = 'correct the annotations, or metainfo of the dataset'
        else:
            hint = 'is it the right file?'
        text = f'none of {len(left)} annotations is a box to learn from; {hint}'
        return [*found, Finding(True, text)]
    if use.trained and use.drops_empty:
        with_boxes = {item['image_id'] for item, c in zip(read.items, of_class) if c}
        empty = len(images) - len(with_boxes)
        if empty:
            found.append(
                Finding(
                    False,
                    f'{empty} of {len(images)} images without annotations are left out '
                    '(filter_cfg.filter_empty_gt=True)',
                )
            )
    return found


def check_evaluation(
    annotations: List[dict], images: Dict[Any, dict], wanted: set
) -> List[Finding]:
    """Find ids and marks that the evaluation takes in another way than meant."""
    found = []
    counted = [
        (number, item)
        for number, item in enumerate(annotations)
        if item['category_id'] in wanted and item['image_id'] in images
    ]
    text = next((x for x in counted if isinstance(x[1]['id'], str)), None)
    if text:
        message = (
            f'{name_entry("annotations", *text)} has a text as id, on which the '
            'evaluation stops; number the annotations from 1'
        )
        found.append(Finding(True, message))
    zero = next((x for x in counted if x[1]['id'] == 0), None)
    if zero:
        message = (
            f'{name_entry("annotations", *zero)} has the id 0, which pycocotools takes '
            'for "no object": finding it counts as a false detection. Number the '
            'annotations from 1'
        )
        found.append(Finding(False, message))
    ignored = sum(bool(item.get('ignore', False)) for _, item in counted)
    if ignored:
        message = (
            f'{ignored} annotations with "ignore" are left out in training but count '
            'as objects in the evaluation; mark them with "iscrowd": 1 instead'
        )
        found.append(Finding(False, message))
    return found
