"""Terms that the checks of a COCO-format file share."""

import math
from collections import Counter
from typing import Any, Iterable, List, NamedTuple, Sequence, Tuple, Union

_MISSING = object()


class Finding(NamedTuple):
    """Line for the user; an error cannot be trained or would be trained wrongly."""

    is_error: bool
    message: str


class CocoUse(NamedTuple):
    """Use that a config makes of a file.

    ``classes`` are those of ``metainfo``, None if they are not to be compared; a str
    stands for the mistake of giving one in place of a list.
    ``evaluated`` says that a ``CocoMetric`` takes its ground truth from the file, and
    ``needs_boxes`` that the pipeline loads boxes from it. ``num_classes`` holds
    (key, value) of the model's heads.
    """

    classes: Union[str, Tuple[str, ...], None] = None
    trained: bool = True
    evaluated: bool = False
    needs_boxes: bool = True
    drops_empty: bool = False
    default_classes: bool = False
    num_classes: Tuple[Tuple[str, int], ...] = ()


class Entry(NamedTuple):
    """An image of the file: name, width and height as stated."""

    file_name: str
    width: float
    height: float


def column(items: Sequence[dict], key: str) -> List[Any]:
    """Return ``key`` of each item, or a mark for :func:`is_missing`."""
    return [item.get(key, _MISSING) for item in items]


def only(values: Iterable[Any], *types: type) -> bool:
    """Return whether all values are of some types, without a slow loop."""
    return set(map(type, values)) <= set(types)


def is_missing(value: Any) -> bool:
    """Return whether a value of :func:`column` is absent from its item."""
    return value is _MISSING


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number; true and false are none."""
    return type(value) in (int, float)


def is_finite(value: Any) -> bool:
    """Return whether a JSON value is a number other than NaN and infinity."""
    return is_number(value) and math.isfinite(value)


def shown(value: Any) -> str:
    """Shorten a value of a JSON file for a message."""
    if value is _MISSING:
        return 'missing'
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def name_entry(kind: str, index: int, item: dict) -> str:
    """Name an entry by its list and index, and the ids that it has."""
    ids = [f'{key} {shown(item[key])}' for key in ('id', 'image_id') if key in item]
    return f'{kind}[{index}]{" (" + ", ".join(ids) + ")" if ids else ""}'


def others(count: int) -> str:
    """Return the remark that further entries are alike."""
    return f' (and {count - 1} more entries)' if count > 1 else ''


def repeated(values: Sequence[Any]) -> List[Any]:
    """Return the values that occur more than once."""
    if len(set(values)) == len(values):
        return []
    return [value for value, count in Counter(values).items() if count > 1]
