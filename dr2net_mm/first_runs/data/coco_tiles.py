"""Cut large annotated images into tiles and write them as a COCO data set.

Boxes are continuous pixel coordinates: ``(x_min, y_min, x_max, y_max)``, origin
at the top left corner of the image, ``width = x_max - x_min``.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, NamedTuple

from PIL import Image

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import DataFileError


class Box(NamedTuple):
    """A box by its corners, in pixels."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return (self.x_max - self.x_min) * (self.y_max - self.y_min)


class TileBox(NamedTuple):
    """A box in the coordinates of its tile; ``ignore`` marks one mostly outside."""

    box: Box
    ignore: bool


@dataclass
class AnnotatedImage:
    """One large image: ``name`` (stem of its tiles), pixels ``[H, W, 3]``, boxes."""

    name: str
    image: Image.Image
    boxes: list[Box] = field(default_factory=list)


def _text(node: ElementTree.Element, path: str) -> str:
    text = node.findtext(path)
    if text is None:
        raise ValueError(f'there is no <{path}>')
    return text


def read_voc_boxes(xml: bytes, source: str) -> tuple[tuple[int, int], list[Box]]:
    """Read image size and boxes of a Pascal VOC annotation; classes are dropped.

    Args:
        xml: the annotation file's bytes.
        source: its name, for error messages.

    Returns:
        ``(width, height)`` in pixels and the boxes in file order.

    Raises:
        DataFileError: not VOC XML, or a box that is empty or outside the image.
    """
    sides = ('xmin', 'ymin', 'xmax', 'ymax')
    try:
        root = ElementTree.fromstring(xml)
        size = (int(_text(root, 'size/width')), int(_text(root, 'size/height')))
        boxes = [
            Box(*(float(_text(node, side)) for side in sides))
            for node in root.iterfind('object/bndbox')
        ]
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise DataFileError(
            f'{source} is not a Pascal VOC annotation: {error}'
        ) from None
    for box in boxes:
        inside = 0 <= box.x_min < box.x_max <= size[0]
        if not (inside and 0 <= box.y_min < box.y_max <= size[1]):
            raise DataFileError(
                f'{source}: box {tuple(box)} is empty or leaves the image of '
                f'{size[0]}x{size[1]} pixels'
            )
    return size, boxes


def tile_origins(length: int, tile: int) -> list[int]:
    """Return offsets of tiles that cover ``length`` pixels; the last ends flush.

    The last tile overlaps its neighbor where ``tile`` does not divide ``length``;
    an image shorter than a tile gives one (smaller) tile.
    """
    if length <= tile:
        return [0]
    origins = list(range(0, length - tile, tile))
    return [*origins, length - tile]


def boxes_in_tile(
    boxes: list[Box], tile: Box, min_visible: float = 0.5
) -> list[TileBox]:
    """Clip boxes to a tile, in the tile's coordinates.

    A box of which at least ``min_visible`` of the area lies in the tile is an
    object; one that shows less is kept as a region to ignore (COCO's
    ``iscrowd``): neither trained on nor counted for or against a detection.
    """
    found = []
    for box in boxes:
        clipped = Box(
            max(box.x_min, tile.x_min) - tile.x_min,
            max(box.y_min, tile.y_min) - tile.y_min,
            min(box.x_max, tile.x_max) - tile.x_min,
            min(box.y_max, tile.y_max) - tile.y_min,
        )
        if clipped.x_min < clipped.x_max and clipped.y_min < clipped.y_max:
            found.append(TileBox(clipped, clipped.area < min_visible * box.area))
    return found


def write_coco_tiles(
    images: list[AnnotatedImage],
    image_dir: Path,
    annotation_file: Path,
    category: str,
    tile: int = 400,
    min_visible: float = 0.5,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Write every image as PNG tiles and one COCO file with their boxes.

    Args:
        images: what to cut; tiles are named ``<name>_<x>_<y>.png``.
        image_dir: where the tiles go; made if missing.
        annotation_file: the COCO JSON file; made last.
        category: the name of the only class.
        tile: side of a tile in pixels.
        min_visible: see :func:`boxes_in_tile`.
        progress: is called with one line an image.

    Returns:
        Counts of ``images``, ``objects`` and ``ignored`` boxes.
    """
    image_dir.mkdir(parents=True, exist_ok=True)
    coco: dict = dict(images=[], annotations=[], categories=[dict(id=1, name=category)])
    for source in images:
        width, height = source.image.size
        before = len(coco['images'])
        for y in tile_origins(height, tile):
            for x in tile_origins(width, tile):
                area = Box(x, y, min(x + tile, width), min(y + tile, height))
                file_name = f'{source.name}_{x}_{y}.png'
                source.image.crop(
                    (area.x_min, area.y_min, area.x_max, area.y_max)
                ).save(image_dir / file_name)
                _add_tile(coco, file_name, area, source.boxes, min_visible)
        progress(f'{source.name}: {len(coco["images"]) - before} tiles')
    with atomic_open(annotation_file, 'w', 'utf-8') as file:
        json.dump(coco, file)
    ignored = sum(annotation['iscrowd'] for annotation in coco['annotations'])
    return dict(
        images=len(coco['images']),
        objects=len(coco['annotations']) - ignored,
        ignored=ignored,
    )


def _add_tile(
    coco: dict, file_name: str, tile: Box, boxes: list[Box], min_visible: float
) -> None:
    image_id = len(coco['images']) + 1
    coco['images'].append(
        dict(
            id=image_id,
            file_name=file_name,
            width=tile.x_max - tile.x_min,
            height=tile.y_max - tile.y_min,
        )
    )
    for box, ignore in boxes_in_tile(boxes, tile, min_visible):
        width, height = box.x_max - box.x_min, box.y_max - box.y_min
        coco['annotations'].append(
            dict(
                id=len(coco['annotations']) + 1,
                image_id=image_id,
                category_id=1,
                bbox=[box.x_min, box.y_min, width, height],
                area=box.area,
                iscrowd=int(ignore),
            )
        )


def write_columns(
    annotation_file: Path, out: Path, first: int, last: int | None
) -> int:
    """Write the part of a COCO file of tiles that lies in some columns of its image.

    Args:
        annotation_file: What :func:`write_coco_tiles` wrote.
        out: The COCO file of the part; its tiles lie where those of the whole lie.
        first: Least x of a tile's left border, in pixels.
        last: Largest x; None takes all columns from ``first``.

    Returns:
        The number of tiles.
    """
    coco = json.loads(annotation_file.read_text())
    images = []
    for image in coco['images']:
        x = int(Path(image['file_name']).stem.split('_')[-2])
        if first <= x and (last is None or x <= last):
            images.append(image)
    kept = {image['id'] for image in images}
    boxes = [one for one in coco['annotations'] if one['image_id'] in kept]
    with atomic_open(out, 'w', 'utf-8') as file:
        json.dump({**coco, 'images': images, 'annotations': boxes}, file)
    return len(images)


def missing_tiles(image_dir: Path, annotation_file: Path) -> list[str]:
    """Return the names of a COCO data set's files that cannot be read."""
    try:
        coco = json.loads(annotation_file.read_text())
        names = [image['file_name'] for image in coco['images']]
    except (OSError, ValueError, KeyError):
        return [annotation_file.name]
    return [name for name in names if not (image_dir / name).is_file()]
