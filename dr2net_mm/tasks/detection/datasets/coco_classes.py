"""Classes of a config beside the categories of a COCO-format file.

mmdet numbers labels by the order in which a file lists those categories whose *names*
are among ``metainfo['classes']``. The order of ``metainfo`` and the ids of the
categories play no part; names in results and pictures do follow ``metainfo``.
"""

from collections import Counter
from typing import Any, List, Optional, Sequence, Tuple

from .coco_findings import CocoUse, Finding, repeated


def labels_of(content: dict, classes: Optional[Sequence[str]]) -> Tuple[str, ...]:
    """Return the class of each label in mmdet's order; by default all of them."""
    names = [category['name'] for category in content['categories']]
    return tuple(name for name in names if classes is None or name in classes)


def check_classes(content: dict, path: str, use: CocoUse) -> List[Finding]:
    """Check the classes, their order, and the size of the model's heads."""
    if isinstance(use.classes, str):
        return [
            Finding(
                True,
                f'metainfo classes={use.classes!r} is a text, not a list of names; '
                f'write classes=({use.classes!r},)',
            )
        ]
    labels = labels_of(content, use.classes)
    found = [_check_doubled(content, labels)]
    if use.classes is not None:
        found += [
            _check_missing(content, labels, use.classes, use.default_classes),
            _check_order(labels, use.classes),
            *_check_heads(len(use.classes), use),
        ]
    return [Finding(True, f'{path}: {message}') for message in found if message]


def suggest(content: dict) -> str:
    """Suggest a ``metainfo`` for a file: its annotated classes in file order."""
    counts = Counter(a['category_id'] for a in content.get('annotations', []))
    names: List[Any] = [
        c['name'] for c in content['categories'] if counts[c['id']] or not counts
    ]
    listed = ', '.join(repr(name) for name in names[:20])
    rest = f', ... {len(names) - 20} more' if len(names) > 20 else ''
    return f'metainfo=dict(classes=({listed}{rest}{"," if len(names) == 1 else ""}))'


def _check_doubled(content: dict, labels: Sequence[str]) -> str:
    doubled = repeated(labels)
    if not doubled:
        return ''
    name = doubled[0]
    counts = Counter(a['category_id'] for a in content.get('annotations', []))
    ids = [c['id'] for c in content['categories'] if c['name'] == name]
    shares = ' and '.join(f'id {i!r} with {counts[i]} boxes' for i in ids)
    return (
        f'"categories" lists the class {name!r} {len(ids)} times ({shares}), as tools '
        'do that export a parent category under the name of its class. mmdet counts '
        f'each as a label of its own, so all labels after it are shifted and mAP is '
        'near 0; remove or rename the one without boxes in "categories"'
    )


def _check_missing(
    content: dict, labels: Sequence[str], classes: Sequence[str], default: bool
) -> str:
    missing = [name for name in classes if name not in labels]
    if not missing:
        return ''
    names = [category['name'] for category in content['categories']]
    alike = [n for n in names if n.strip().lower() == missing[0].strip().lower()]
    if default:
        origin = (
            f'the config sets no metainfo for this file, so mmdet takes the '
            f'{len(classes)} names of its own data set'
        )
    else:
        origin = f'metainfo has {len(classes)} classes'
    hint = f' (but {alike[0]!r}: upper case or spaces differ)' if alike else ''
    return (
        f'{origin}, of which {len(missing)}, such as {missing[0]!r}, are not among the '
        f'{len(names)} categories{hint}. Labels would be numbered without them: wrong '
        'classes, or an IndexError in the first validation; set '
        f'{suggest(content)} in the dataset of train and of val, and num_classes of '
        'the model, or list the class in "categories" of every file'
    )


def _check_order(labels: Sequence[str], classes: Sequence[str]) -> str:
    if repeated(classes):
        return f'metainfo lists the class {repeated(classes)[0]!r} more than once'
    if len(labels) != len(classes) or list(labels) == list(classes):
        return ''
    label = next(i for i, name in enumerate(labels) if name != classes[i])
    return (
        f'label {label} is {labels[label]!r} by the order of "categories", which mmdet '
        f'follows, but {classes[label]!r} in metainfo: classes would be exchanged in '
        'results, pictures and beside any file or checkpoint of another order. Write '
        f'the classes in the order of the file, metainfo=dict(classes={tuple(labels)})'
        ', or sort "categories" of all files alike'
    )


def _check_heads(count: int, use: CocoUse) -> List[str]:
    found = []
    for key, value in use.num_classes:
        if use.trained and value < count:
            found.append(
                f'{key}={value}, but metainfo has {count} classes: their labels are '
                f'out of range in the loss; set {key}={count}'
            )
        elif use.evaluated and value > count:
            found.append(
                f'{key}={value}, but metainfo has {count} classes: a detection of a '
                'class without a name is an IndexError in the first validation; set '
                f'{key}={count}, or metainfo of this dataset'
            )
    return found[:1]
