"""Image files beside the sizes that a COCO-format file states.

Headers are read. What stands out there (another size, an EXIF orientation, more than
eight bits) is decoded as the pipeline decodes it, because decoders differ: OpenCV turns
JPEG and PNG files but not WebP, and TIFF files always.
"""

import os
from collections import defaultdict
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

import numpy as np

from .coco_findings import Entry, Finding, others

# Files of each kind that are decoded.
_DECODED = 20
# Highest of 255 levels below which an image of more bits is called dark.
_DARK = 64
_WHITE = 250
_ORIENTATION, _BITS = 274, 258
_TURNED = {
    2: 'mirrored', 3: 'upside down', 4: 'mirrored and upside down',
    5: 'mirrored on its side', 6: 'on its side', 7: 'mirrored on its side',
    8: 'on its side',
}  # fmt: skip


class Loader(NamedTuple):
    """Options of ``LoadImageFromFile`` that decide what it returns."""

    color_type: str = 'color'
    imdecode_backend: str = 'cv2'


class _Header(NamedTuple):
    width: int
    height: int
    orientation: int
    bits: int


def check_images(
    images: Iterable[Entry], folder: str, loader: Loader, path: str
) -> List[Finding]:
    """Compare image files with their entries.

    Args:
        images: Entries to look at; reading stops at none of them.
        folder: What file names are relative to, ``data_prefix['img']``.
        loader: How the pipeline decodes.
        path: Annotation file, for the messages.
    """
    cases: Dict[str, List[Tuple[Entry, str]]] = defaultdict(list)
    levels = []
    for entry in images:
        kind, detail = _look_at(os.path.join(folder, entry.file_name), entry, loader)
        if kind == 'deep':
            levels.append((entry, detail))
        elif kind:
            cases[kind].append((entry, detail))
    found = [_report(kind, items, path, folder) for kind, items in cases.items()]
    found += _report_levels(levels, folder, path, loader)
    return sorted(found, key=lambda finding: not finding.is_error)


def _look_at(file: str, entry: Entry, loader: Loader) -> Tuple[str, str]:
    if not os.path.isfile(file):
        return 'missing', ''
    header = _header(file)
    stated = (int(entry.width), int(entry.height))
    if header is not None and header.orientation == 1:
        size = (header.width, header.height)
        if size == stated:
            return ('deep', str(header.bits)) if header.bits > 8 else ('', '')
    try:
        decoded = _decode(file, loader)
    except Exception as error:
        return 'unreadable', ' '.join(str(error).split()) or type(error).__name__
    if decoded is None:
        return 'unreadable', 'the decoder returns nothing'
    size = (decoded.shape[1], decoded.shape[0])
    orientation = 1 if header is None else header.orientation
    if size != stated:
        turned = orientation > 4 and size[::-1] == stated
        detail = f'{size[0]} x {size[1]}'
        return ('turned' if turned else 'size'), detail
    if orientation in (2, 3, 4) or (orientation > 4 and size[0] == size[1]):
        return 'orientation', f'{orientation}, {_TURNED[orientation]}'
    if header is not None and header.bits > 8:
        return 'deep', str(header.bits)
    return '', ''


def _header(file: str) -> Optional[_Header]:
    """Read size, EXIF orientation and bits per channel; None if unknown."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            bits = 16 if image.mode.startswith('I;16') else 8
            bits = 32 if image.mode in ('I', 'F') else bits
            if image.format == 'PNG':
                with open(file, 'rb') as content:
                    bits = content.read(25)[24]
                # Without the chunk in front, Pillow would decode to look behind.
                tags = image.getexif() if 'exif' in image.info else {}
            elif image.format == 'TIFF':
                tags = image.tag_v2  # type: ignore[attr-defined]
                bits = max(tags.get(_BITS, (8,)))
            else:
                tags = image.getexif()
            orientation = tags.get(_ORIENTATION, 1)
            known = orientation if orientation in _TURNED else 1
            return _Header(*image.size, known, bits)
    except Exception:
        return None


def _decode(file: str, loader: Loader) -> Optional[np.ndarray]:
    import mmcv

    with open(file, 'rb') as content:
        return mmcv.imfrombytes(
            content.read(), flag=loader.color_type, backend=loader.imdecode_backend
        )


def _report(
    kind: str, items: List[Tuple[Entry, str]], path: str, folder: str
) -> Finding:
    entry, detail = items[0]
    file = os.path.join(folder, entry.file_name)
    more = others(len(items))
    stated = f'{path} states {entry.width:g} x {entry.height:g}'
    if kind == 'missing':
        text = (
            f'image {file!r} of {path} does not exist{more}; check data_root and '
            'data_prefix of the dataset'
        )
    elif kind == 'unreadable':
        text = (
            f'image {file!r} of {path} cannot be read ({detail}){more}; replace the '
            'file, or take it out of the annotations'
        )
    elif kind == 'turned':
        text = (
            f'image {file!r} has an EXIF orientation and is loaded as {detail}, but '
            f'{stated}: boxes drawn without turning it would lie beside the objects'
            f"{more}; set LoadImageFromFile(color_type='color_ignore_orientation'), or "
            'turn the pixels and remove the tag'
        )
    elif kind == 'size':
        text = (
            f'image {file!r} is {detail} as it is loaded, but {stated}: boxes of '
            f'another size of the image would lie beside the objects{more}; scale '
            'boxes and sizes in the file to the images, or use the images that were '
            'annotated'
        )
    else:
        text = (
            f'image {file!r} has the EXIF orientation {detail}{more}; its size cannot '
            "tell whether the boxes were drawn so. Look at some with mmdet's "
            'tools/analysis_tools/browse_dataset.py'
        )
    return Finding(kind != 'orientation', text)


def _report_levels(
    items: List[Tuple[Entry, str]], folder: str, path: str, loader: Loader
) -> List[Finding]:
    """Report images of more than eight bits, of which eight are kept."""
    highest, lowest = 0, 255
    for entry, _ in items[:_DECODED]:
        try:
            decoded = _decode(os.path.join(folder, entry.file_name), loader)
        except Exception:
            decoded = None
        if decoded is None:
            return [_report('unreadable', [(entry, 'no 8-bit image')], path, folder)]
        if decoded.dtype != np.uint8:
            return []
        highest = max(highest, int(decoded.max()))
        lowest = min(lowest, int(np.percentile(decoded, 10)))
    if not items or (highest >= _DARK and lowest < _WHITE):
        return []
    entry, bits = items[0]
    state = 'almost black' if highest < _DARK else 'almost white'
    text = (
        f'image {os.path.join(folder, entry.file_name)!r} has {bits} bits a channel, '
        f'of which loading keeps eight: the brightest of {min(len(items), _DECODED)} '
        f'such images has the level {highest} of 255, {state}{others(len(items))}; '
        'convert the images of the set to 8 bits with one common scale'
    )
    return [Finding(True, text)]
