"""Reading a COCO-format file: its lists, and the fields without which it cannot be."""

import json
from typing import Any, Callable, Dict, List, Optional, Tuple

from .coco_findings import (
    Finding,
    column,
    is_missing,
    is_number,
    name_entry,
    only,
    others,
    repeated,
    shown,
)

LISTS = ('images', 'annotations', 'categories')


def load_json(path: str) -> Tuple[Any, Optional[Finding]]:
    """Load a JSON file; return the finding if it is none."""
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file), None
    except UnicodeDecodeError as error:
        return None, Finding(True, f'{path} is not UTF-8 text ({error}); save it so')
    except ValueError as error:
        reason = 'export it again'
        if 'BOM' in str(error):
            reason = 'save it as UTF-8 without the byte order mark at its beginning'
        return None, Finding(True, f'{path} is not a JSON file: {error}; {reason}')


def check_structure(content: Any, path: str) -> List[Finding]:
    """Check lists, ids and sizes; findings here end the check of a file."""
    if not isinstance(content, dict):
        return [
            Finding(
                True,
                f'{path} holds a {type(content).__name__}; a COCO-format file is an '
                'object with the lists "images", "annotations" and "categories"',
            )
        ]
    found = []
    for key in LISTS:
        if key not in content and key == 'annotations':
            continue
        value = content.get(key)
        if not isinstance(value, list):
            state = f'is a {type(value).__name__}' if key in content else 'is missing'
            found.append(
                f'the list "{key}" {state}; export it with the annotations, in '
                'COCO\'s format: "images", "annotations" and "categories" are lists'
            )
            continue
        if not only(value, dict):
            wrong = [i for i, item in enumerate(value) if type(item) is not dict]
            found.append(
                f'{key}[{wrong[0]}] is {shown(value[wrong[0]])}, not an object'
                f'{others(len(wrong))}; correct or remove it'
            )
    if not found:
        found = [
            *_check_images(content['images']),
            *_check_categories(content['categories']),
            *_check_annotation_ids(content.get('annotations', [])),
        ]
    return [Finding(True, f'{path}: {message}') for message in found]


def _is_id(value: Any) -> bool:
    return type(value) in (int, str, float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_size(value: Any) -> bool:
    return is_number(value) and value > 0


def _wrong_field(
    kind: str,
    items: List[dict],
    key: str,
    fits: Callable[[Any], bool],
    wanted: str,
) -> List[str]:
    values = column(items, key)
    if fits is _is_id and only(values, int):
        return []
    wrong = [index for index, value in enumerate(values) if not fits(value)]
    if not wrong:
        return []
    value = values[wrong[0]]
    state = f'has no {key}' if is_missing(value) else f'has {key} {shown(value)}'
    entry = name_entry(kind, wrong[0], items[wrong[0]])
    return [f'{entry} {state}{others(len(wrong))}; give {wanted}']


def _check_images(images: List[dict]) -> List[str]:
    found = _wrong_field('images', images, 'id', _is_id, 'a number')
    found += _wrong_field(
        'images', images, 'file_name', _is_text, 'its path below data_prefix'
    )
    for key in ('width', 'height'):
        found += _wrong_field(
            'images', images, key, _is_size, f'the {key} of the decoded image in pixels'
        )
    if not images:
        found.append('"images" is empty: there is nothing to train on')
    if found:
        return found
    doubled = repeated(column(images, 'id'))
    if doubled:
        found.append(
            f'the image id {shown(doubled[0])} stands more than once in "images"'
            f'{others(len(doubled))}: all boxes of that id would go to the last of '
            'these images; give every image an id of its own'
        )
    return found


def _check_categories(categories: List[dict]) -> List[str]:
    if not categories:
        return ['"categories" is empty: list the classes there, with id and name']
    found = _wrong_field('categories', categories, 'id', _is_id, 'a number')
    found += _wrong_field('categories', categories, 'name', _is_text, 'a text')
    if found:
        return found
    doubled = repeated(column(categories, 'id'))
    if doubled:
        names = [c['name'] for c in categories if c['id'] == doubled[0]]
        found.append(
            f'the category id {shown(doubled[0])} stands for {names}: every box of it '
            'would take the last of these classes; give every category an id of its own'
        )
    return found


def _check_annotation_ids(annotations: List[dict]) -> List[str]:
    found = []
    for key in ('id', 'image_id', 'category_id'):
        found += _wrong_field('annotations', annotations, key, _is_id, 'a number')
    if found:
        return found
    doubled = repeated(column(annotations, 'id'))
    if doubled:
        found.append(
            f'the annotation id {shown(doubled[0])} stands more than once'
            f'{others(len(doubled))}; mmdet stops with "not unique": number the '
            'annotations from 1'
        )
    return found


def of_other_type(value: Any, known: Dict[Any, Any]) -> bool:
    """Return whether an id is known as the other of text and number."""
    if isinstance(value, str):
        try:
            return int(value) in known
        except ValueError:
            return False
    return str(value) in known
