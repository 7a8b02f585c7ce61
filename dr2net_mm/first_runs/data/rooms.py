"""Rooms in the text format of S3DIS: surfaces of furniture, sampled with noise."""

from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from dr2net_mm.atomic_file import atomic_open

Generator = np.random.Generator
Vector = Union[Sequence[float], np.ndarray]

#: Standard deviations of the noise, meters and steps of a color.
POSITION_NOISE, COLOR_NOISE = 0.004, 9.0

#: Standard deviation by which the color of an object differs from that of its class.
OBJECT_NOISE = 20.0

#: Colors of the classes. Classes share them on purpose, so that color and height do not
#: tell what a point belongs to.
_PAINT = [(215, 212, 200), (200, 198, 192), (185, 178, 165)]
_WOOD = [(130, 92, 62), (160, 122, 85), (105, 82, 68)]
_CLOTH = [(70, 72, 85), (130, 65, 58), (110, 108, 102)]
PALETTES: Dict[str, Sequence[Vector]] = {
    'ceiling': _PAINT,
    'floor': [*_WOOD, (110, 108, 105)],
    'wall': _PAINT,
    'beam': _PAINT,
    'column': _PAINT,
    'window': [*_PAINT, (170, 188, 205)],
    'door': [*_WOOD, *_PAINT],
    'chair': [*_WOOD, *_CLOTH],
    'table': [*_WOOD, *_PAINT],
    'bookcase': [*_WOOD, *_PAINT],
    'sofa': [*_CLOTH, *_WOOD],
    'board': [*_PAINT, (70, 88, 76)],
    'clutter': [*_CLOTH, *_WOOD, *_PAINT],
}


class Patch(NamedTuple):
    """A parallelogram ``origin + s·a + t·b``, s and t in [0, 1]; meters."""

    origin: Vector
    a: Vector
    b: Vector

    @property
    def area(self) -> float:
        """Square meters."""
        return float(np.linalg.norm(np.cross(self.a, self.b)))

    def sample(self, density: float, generator: Generator) -> np.ndarray:
        """Points at random, about ``density`` of them a square meter: [n, 3]."""
        count = generator.poisson(density * self.area)
        s, t = generator.random((2, count, 1))
        return np.asarray(self.origin) + s * np.asarray(self.a) + t * np.asarray(self.b)


def box(low: Vector, size: Vector) -> List[Patch]:
    """Return the six faces of a box from its lowest corner and its edges."""
    corner, edges = np.asarray(low, dtype=float), np.diag(np.asarray(size))
    faces = []
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        faces.append(Patch(corner, edges[i], edges[j]))
        faces.append(Patch(corner + edges[k], edges[i], edges[j]))
    return faces


Item = Tuple[str, List[Patch]]


class Room(NamedTuple):
    """A room before it is measured.

    Attributes:
        size: Width, depth and height, meters.
        items: Class and surfaces of every object.
    """

    size: Tuple[float, float, float]
    items: List[Item]


def draw_room(generator: Generator) -> Room:
    """Draw a room with walls, door, windows and furniture at random places."""
    width, depth = generator.uniform(4.0, 6.5, 2)
    height = generator.uniform(2.5, 3.2)
    size = (float(width), float(depth), float(height))
    items: List[Item] = [
        ('floor', [Patch((0, 0, 0), (width, 0, 0), (0, depth, 0))]),
        ('ceiling', [Patch((0, 0, height), (width, 0, 0), (0, depth, 0))]),
    ]
    for wall in _walls(size):
        items.append(('wall', [wall]))
    items += _on_walls(size, generator)
    items += _structure(size, generator)
    items += _furniture(size, generator)
    return Room(size, items)


def _walls(size: Vector) -> List[Patch]:
    width, depth, height = size
    up = (0, 0, height)
    return [
        Patch((0, 0, 0), (width, 0, 0), up),
        Patch((0, depth, 0), (width, 0, 0), up),
        Patch((0, 0, 0), (0, depth, 0), up),
        Patch((width, 0, 0), (0, depth, 0), up),
    ]


def _on_walls(size: Vector, generator: Generator) -> List[Item]:
    """Door, window and board, each on a wall of its own, a little in front of it."""
    width, depth, height = size
    items: List[Item] = []
    sides = generator.permutation(4)
    for name, side in zip(('door', 'window', 'board'), sides):
        along = width if side < 2 else depth
        if name == 'door':
            extent, bottom, top = 0.9, 0.0, 2.05
        elif name == 'window':
            extent, bottom, top = generator.uniform(1.0, 1.8), 0.9, height - 0.4
        else:
            extent, bottom, top = generator.uniform(1.2, 2.0), 0.9, 2.1
        start = generator.uniform(0.3, along - extent - 0.3)
        gap = {'door': 0.04, 'window': -0.06, 'board': 0.06}[name]
        rise = top - bottom
        if side < 2:
            y = gap if side == 0 else depth - gap
            patch = Patch((start, y, bottom), (extent, 0, 0), (0, 0, rise))
        else:
            x = gap if side == 2 else width - gap
            patch = Patch((x, start, bottom), (0, extent, 0), (0, 0, rise))
        items.append((name, [patch]))
    return items


def _structure(size: Vector, generator: Generator) -> List[Item]:
    """Draw a beam below the ceiling and a column, each in half of the rooms."""
    width, depth, height = size
    items: List[Item] = []
    if generator.random() < 0.5:
        y = generator.uniform(1.0, depth - 1.3)
        items.append(('beam', box((0, y, height - 0.3), (width, 0.3, 0.3))))
    if generator.random() < 0.5:
        x, y = generator.uniform(0.8, width - 1.2), generator.uniform(0.8, depth - 1.2)
        items.append(('column', box((x, y, 0), (0.35, 0.35, height))))
    return items


def _table(x: float, y: float, generator: Generator) -> List[Patch]:
    length, width, top = generator.uniform(1.1, 1.6), 0.75, generator.uniform(0.68, 0.8)
    patches = box((x, y, top - 0.04), (length, width, 0.04))
    for dx in (0.03, length - 0.08):
        for dy in (0.03, width - 0.08):
            patches += box((x + dx, y + dy, 0), (0.05, 0.05, top - 0.04))
    return patches


def _chair(x: float, y: float, generator: Generator) -> List[Patch]:
    seat = generator.uniform(0.42, 0.5)
    patches = box((x, y, seat - 0.05), (0.45, 0.45, 0.05))
    back = 0.0 if generator.random() < 0.5 else 0.41
    patches += box((x, y + back, seat), (0.45, 0.04, 0.42))
    for dx in (0.0, 0.41):
        for dy in (0.0, 0.41):
            patches += box((x + dx, y + dy, 0), (0.04, 0.04, seat - 0.05))
    return patches


def _bookcase(size: Vector, generator: Generator) -> List[Patch]:
    length, deep, high = generator.uniform(0.8, 1.4), 0.35, generator.uniform(1.6, 2.1)
    x = generator.uniform(0.3, size[0] - length - 0.3)
    y = 0.06 if generator.random() < 0.5 else size[1] - deep - 0.06
    patches = box((x, y, 0), (length, deep, high))
    for shelf in np.arange(0.35, high - 0.1, 0.35):
        patches.append(Patch((x, y, shelf), (length, 0, 0), (0, deep, 0)))
    return patches


def _sofa(size: Vector, generator: Generator) -> List[Patch]:
    length = generator.uniform(1.5, 2.0)
    x = 0.08 if generator.random() < 0.5 else size[0] - 0.93
    y = generator.uniform(0.4, size[1] - length - 0.4)
    back = x if x < 1 else x + 0.65
    patches = box((x, y, 0.05), (0.85, length, 0.38))
    patches += box((back, y, 0.43), (0.2, length, 0.4))
    for side in (y, y + length - 0.18):
        patches += box((x, side, 0.43), (0.85, 0.18, 0.18))
    return patches


def _furniture(size: Vector, generator: Generator) -> List[Item]:
    width, depth, _ = size
    items: List[Item] = []
    for _ in range(generator.integers(1, 3)):
        x = generator.uniform(0.6, width - 2.3)
        y = generator.uniform(0.9, depth - 1.8)
        items.append(('table', _table(x, y, generator)))
        for _ in range(generator.integers(1, 4)):
            shift = generator.uniform(-0.2, 1.2)
            side = -0.55 if generator.random() < 0.5 else 0.85
            items.append(('chair', _chair(x + shift, y + side, generator)))
        place = (x + generator.uniform(0.1, 0.8), y + 0.2, 0.8)
        items.append(('clutter', box(place, generator.uniform(0.1, 0.35, 3))))
    items.append(('bookcase', _bookcase(size, generator)))
    if generator.random() < 0.6:
        items.append(('sofa', _sofa(size, generator)))
    for _ in range(generator.integers(1, 4)):
        edges = generator.uniform(0.2, 0.5, 3)
        x, y = generator.uniform(0.2, width - 0.8), generator.uniform(0.2, depth - 0.8)
        items.append(('clutter', box((x, y, 0.0), edges)))
    return items


def measured(
    patches: Sequence[Patch], color: Vector, density: float, generator: Generator
) -> np.ndarray:
    """Points and colors of an object as a scanner gives them, [n, 6]."""
    points = np.concatenate([patch.sample(density, generator) for patch in patches])
    points += generator.normal(0, POSITION_NOISE, points.shape)
    colors = np.asarray(color) + generator.normal(0, COLOR_NOISE, points.shape)
    return np.concatenate([points, colors.clip(0, 255).round()], axis=1)


def write_room(
    folder: Path, offset: Vector, density: float, generator: Generator
) -> int:
    """Write a room as S3DIS does, one text file an object.

    Args:
        folder: Of the room; ``Annotations`` below it holds the objects.
        offset: Where the room lies in its area, meters.
        density: Points a square meter.
        generator: Draws the room.

    Returns:
        How many points it has.
    """
    room = draw_room(generator)
    light = generator.uniform(0.8, 1.1)
    numbers: Dict[str, int] = {}
    total = 0
    for name, patches in room.items:
        palette = PALETTES[name]
        color = np.asarray(palette[int(generator.integers(len(palette)))]) * light
        color = color + generator.normal(0, OBJECT_NOISE, 3)
        table = measured(patches, color, density, generator)
        if not len(table):
            continue
        table[:, :3] += np.asarray(offset)
        numbers[name] = numbers.get(name, 0) + 1
        path = folder / 'Annotations' / f'{name}_{numbers[name]}.txt'
        with atomic_open(path, 'w', 'utf-8') as file:
            np.savetxt(file, table, fmt=['%.3f'] * 3 + ['%d'] * 3)
        total += len(table)
    return total


def write_areas(
    out: Path,
    areas: Sequence[int],
    rooms: int,
    density: float,
    seed: int,
    on_room: Callable[[], None] = lambda: None,
) -> int:
    """Write areas of rooms that stand apart from each other.

    Args:
        out: Folder of the areas.
        areas: Their numbers; an area depends on its number and the seed alone.
        rooms: Rooms of each.
        density: Points a square meter.
        seed: Of everything.
        on_room: Called for every room.

    Returns:
        How many points were written.
    """
    total = 0
    for area in areas:
        for number in range(1, rooms + 1):
            generator = np.random.default_rng((seed, area, number))
            offset = (9.0 * (number % 3), 9.0 * (number // 3), 0.0)
            folder = out / f'Area_{area}' / f'office_{number}'
            total += write_room(folder, offset, density, generator)
            on_room()
    return total
