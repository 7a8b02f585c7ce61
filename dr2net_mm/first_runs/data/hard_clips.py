"""Plan and show spliced videos that are harder than those of :mod:`.spliced_clips`.

A video shows background films and photos; into it segments of another film, the class,
are inserted, so that the boundaries are known to the frame. Backgrounds of validation
and test are films and photos that training does not show; of the films of the classes
each subset has frames of its own. Whatever is shown may change its view, its speed or
its brightness meanwhile, or the camera moves: none of that marks a segment.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import cv2
import numpy as np

from .spliced_clips import BACKGROUND, GAP

SUBSETS = ('training', 'validation', 'testing')
#: Share of a class's film that each subset may show.
SHARES = (0.5, 0.2, 0.3)
MOVES = ('pan', 'roll', 'shake', 'tilt', 'zoom_in', 'zoom_out')
DISTRACTIONS = ('none', 'speed', 'light', 'cut', *MOVES)

#: Share of the scenery's width that is seen.
VIEW = (0.45, 0.75)
#: The narrowest and the widest view of a zoom.
ZOOM_LIMITS = (0.4, 0.95)
#: Ranges of what a move changes in a frame: shares of the view, radians, logarithms.
RATES = dict(pan=(0.005, 0.02), tilt=(0.005, 0.02), roll=(0.005, 0.02))
RATES.update(zoom_in=(0.005, 0.015), zoom_out=(0.005, 0.015), shake=(0.01, 0.03))
LARGEST_ROLL = 0.8
LARGEST_ZOOM = 0.8
#: Share of the way to the scenery's edge.
LARGEST_PAN = 0.9
SPEEDS = (-1.0, 0.0, 0.4, 2.5)


class Scenery(NamedTuple):
    """A film, or a photo as a film of one frame.

    Attributes:
        name: Of its file.
        label: A class or ``BACKGROUND``.
        frames: RGB uint8 ``[T, H, W, 3]``.
        parts: The frames that each subset may show; a subset without is not in it.
    """

    name: str
    label: str
    frames: np.ndarray
    parts: Mapping[str, range]


class View(NamedTuple):
    """Center (x, y) and width as shares of the scenery, and the angle in radians."""

    x: float
    y: float
    width: float
    angle: float = 0.0


class Shot(NamedTuple):
    """Consecutive frames of one scenery: views, frame numbers, factors of brightness.

    Each has one entry a frame.
    """

    scenery: int
    views: tuple[View, ...]
    numbers: np.ndarray
    gains: np.ndarray


class HardOptions(NamedTuple):
    """Options of a set; lengths in frames, numbers for the three subsets."""

    videos: tuple[int, ...] = (128, 32, 48)
    clips: tuple[int, ...] = (64, 12, 12)
    clip_length: int = 32
    segments: tuple[int, int] = (1, 3)
    segment_length: tuple[int, int] = (16, 64)
    background_shots: tuple[int, int] = (1, 2)
    background_length: tuple[int, int] = (14, 48)
    height: int = 48
    width: int = 64
    fps: int = 25
    seed: int = 0


def class_parts(length: int) -> dict[str, range]:
    """Divide a film among the subsets, :data:`GAP` frames apart."""
    ends = [round(length * share) for share in np.cumsum(SHARES)]
    return {
        subset: range(start + GAP * (start > 0), end)
        for subset, start, end in zip(SUBSETS, [0, *ends], ends)
    }


def plan_video(
    sceneries: Sequence[Scenery],
    subset: str,
    options: HardOptions,
    rng: np.random.Generator,
) -> list[Shot]:
    """Choose the shots of one video; each segment is of a class of its own."""
    labels = class_names(sceneries)[:-1]
    count, shots = _between(rng, options.segments), []
    for stretch in range(count + 1):
        for _ in range(_between(rng, options.background_shots)):
            length = _between(rng, options.background_length)
            shots.append(plan_shot(sceneries, subset, BACKGROUND, length, rng))
        if stretch < count:
            shortest, longest = options.segment_length
            # Short and long segments are equally frequent on a logarithmic scale.
            drawn = np.exp(rng.uniform(np.log(shortest), np.log(longest + 1)))
            length = min(int(drawn), longest)
            label = str(rng.choice(labels))
            shots.append(plan_shot(sceneries, subset, label, length, rng))
    return shots


def class_names(sceneries: Sequence[Scenery]) -> list[str]:
    """Return the classes in alphabetical order, the background last."""
    return [*sorted({one.label for one in sceneries} - {BACKGROUND}), BACKGROUND]


def segments_of(
    shots: Sequence[Shot], sceneries: Sequence[Scenery]
) -> list[tuple[int, int, str]]:
    """Return first frame, frame after the last, and class of each segment."""
    found, first = [], 0
    for shot in shots:
        end, label = first + len(shot.views), sceneries[shot.scenery].label
        if label != BACKGROUND:
            found.append((first, end, label))
        first = end
    return found


def cuts_of(shots: Sequence[Shot]) -> list[int]:
    """Return the frames at which another shot begins."""
    return np.cumsum([len(shot.views) for shot in shots])[:-1].tolist()


def render(
    shots: Sequence[Shot], sceneries: Sequence[Scenery], options: HardOptions
) -> np.ndarray:
    """Render the frames uint8 ``[T, height, width, 3]`` of planned shots."""
    shown = []
    for shot in shots:
        frames = sceneries[shot.scenery].frames
        for number, view, gain in zip(shot.numbers, shot.views, shot.gains):
            picture = _seen(frames[number], view, options)
            if gain != 1:
                picture = np.clip(picture * gain, 0, 255).astype(np.uint8)
            shown.append(picture)
    return np.stack(shown)


def _seen(frame: np.ndarray, view: View, options: HardOptions) -> np.ndarray:
    """Show a part of a frame; what lies beyond its edge is mirrored."""
    rows, columns = frame.shape[:2]
    scale = view.width * columns / options.width
    cos, sin = scale * np.cos(view.angle), scale * np.sin(view.angle)
    center = np.array([view.x * columns, view.y * rows])
    turn = np.array([[cos, -sin], [sin, cos]])
    middle = np.array([options.width, options.height]) / 2
    matrix = np.column_stack([turn, center - turn @ middle])
    return cv2.warpAffine(
        frame,
        matrix,
        (options.width, options.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _there_and_back(positions: np.ndarray, length: int) -> np.ndarray:
    """Return frame numbers of positions in a film that runs back at its ends."""
    if length == 1:
        return np.zeros(len(positions), int)
    period = 2 * (length - 1)
    folded = np.floor(positions).astype(int) % period
    return np.minimum(folded, period - folded)


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _scenery(
    sceneries: Sequence[Scenery], subset: str, label: str, rng: np.random.Generator
) -> int:
    """Choose a film or a photo of a label, both equally often where there are both."""
    films, photos = (
        [
            number
            for number, one in enumerate(sceneries)
            if one.label == label
            and subset in one.parts
            and (len(one.frames) > 1) == moving
        ]
        for moving in (True, False)
    )
    chosen = films if not photos or (films and rng.random() < 0.5) else photos
    return chosen[int(rng.integers(len(chosen)))]


def _resting_view(rng: np.random.Generator) -> View:
    width = rng.uniform(*VIEW)
    x, y = (rng.uniform(width / 2, 1 - width / 2) for _ in range(2))
    return View(x, y, width, rng.uniform(-0.1, 0.1))


def move_path(move: str, length: int, rng: np.random.Generator) -> list[View]:
    """Return the views of a move: that before it, and one for each of its frames.

    Each frame of the move differs from the one before, the frame after it does not.
    """
    rate = rng.uniform(*RATES[move])
    rest = _resting_view(rng)
    done = np.arange(length + 1) / length
    side = float(rng.choice([-1, 1]))
    if move in ('pan', 'tilt'):
        reach = min(rate * length * rest.width, LARGEST_PAN * (1 - rest.width))
        start = rng.uniform(rest.width / 2, 1 - rest.width / 2 - reach)
        places = start + reach * done
        places = places if side > 0 else places[::-1]
        return [
            rest._replace(**{'x' if move == 'pan' else 'y': float(place)})
            for place in places
        ]
    if move == 'roll':
        reach = min(rate * length, LARGEST_ROLL)
        angles = side * reach * (done - 0.5)
        return [rest._replace(angle=float(angle)) for angle in angles]
    if move == 'shake':
        jolts = rng.normal(0, rate * rest.width, (length + 1, 2))
        # It begins and ends at rest.
        jolts[[0, -1]] = 0
        return [rest._replace(x=rest.x + dx, y=rest.y + dy) for dx, dy in jolts]
    narrow, wide = ZOOM_LIMITS
    reach = min(rate * length, LARGEST_ZOOM)
    narrow = np.exp(rng.uniform(np.log(narrow), np.log(wide) - reach))
    widths = narrow * np.exp(reach * done)
    widths = widths if move == 'zoom_out' else widths[::-1]
    widest = max(widths)
    x, y = (rng.uniform(widest / 2, 1 - widest / 2) for _ in range(2))
    return [rest._replace(x=x, y=y, width=float(width)) for width in widths]


def plan_shot(
    sceneries: Sequence[Scenery],
    subset: str,
    label: str,
    length: int,
    rng: np.random.Generator,
) -> Shot:
    """Choose a scenery of a class or of the background, and how it is shown."""
    scenery = _scenery(sceneries, subset, label, rng)
    kind = str(rng.choice(DISTRACTIONS))
    if kind in MOVES:
        views = move_path(kind, length, rng)[1:]
    else:
        views = [_resting_view(rng)] * length
    speeds, gains = np.ones(length), np.ones(length)
    first = int(rng.integers(length // 4, length // 2))
    end = int(rng.integers(first + length // 4, length + 1))
    if kind == 'speed':
        speeds[first:end] = float(rng.choice(SPEEDS))
    elif kind == 'light':
        target = float(rng.choice([0.35, 0.5, 1.5, 1.8]))
        gains[first:end] = np.linspace(1, target, end - first)
        gains[end:] = target
    elif kind == 'cut':
        views[first:] = [_resting_view(rng)] * (length - first)
    part = sceneries[scenery].parts[subset]
    positions = rng.integers(2 * len(part)) + np.cumsum(speeds)
    numbers = part.start + _there_and_back(positions, len(part))
    return Shot(scenery, tuple(views), numbers, gains)
