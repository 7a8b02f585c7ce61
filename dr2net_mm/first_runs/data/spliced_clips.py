"""Plan and show videos with exact temporal boundaries, spliced from real films.

A video shows background films; into it one to three segments of another film, the
class, are inserted. Where a film begins is known to the frame, so the annotation has
no error. The background itself jumps too, so a cut alone does not mark a boundary.
Training and validation take their frames from disjoint parts of every film.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import cv2
import numpy as np

from dr2net_mm.errors import DataFileError

SUBSETS = ('training', 'validation')
BACKGROUND = 'background'
# Frames between the two parts of a film, which belong to neither.
GAP = 5
SHORTEST_FILM = 50
# Share of a film's picture that a piece shows at least; it is cropped at random.
SMALLEST_VIEW = 0.75


class Film(NamedTuple):
    """A source: RGB frames ``[T, H, W, 3]``; ``label`` is a class or ``BACKGROUND``."""

    name: str
    label: str
    frames: np.ndarray


class Piece(NamedTuple):
    """Consecutive frames of one film, and how they are shown.

    ``offset`` counts from the first frame of the subset's part of the film; at the end
    of that part the film runs backwards. ``view`` is (top, left, share) of the cropped
    picture, each in [0, 1].
    """

    film: int
    offset: int
    length: int
    view: tuple[float, float, float]
    mirrored: bool


class SetOptions(NamedTuple):
    """Options of a set; lengths in frames."""

    videos: tuple[int, int] = (96, 32)
    clips: tuple[int, int] = (24, 12)
    clip_length: int = 32
    segments: tuple[int, int] = (1, 3)
    segment_length: tuple[int, int] = (16, 72)
    background_length: tuple[int, int] = (10, 64)
    height: int = 64
    width: int = 80
    fps: int = 25
    validation_share: float = 0.4
    seed: int = 0


def subset_range(length: int, subset: str, validation_share: float) -> range:
    """Return the frames of a film of ``length`` frames that a subset may show.

    Training has the beginning, validation the end; :data:`GAP` frames in between belong
    to neither.

    Raises:
        DataFileError: if the film is too short to be divided.
    """
    if length < SHORTEST_FILM:
        raise DataFileError(
            f'a film of {length} frames is too short to be divided between training '
            f'and validation; at least {SHORTEST_FILM} are needed'
        )
    border = round(length * (1 - validation_share))
    if subset == 'training':
        return range(border)
    return range(border + GAP, length)


def back_and_forth(part: range, offset: int, length: int) -> np.ndarray:
    """Return ``length`` frame numbers that run through ``part``, back at its ends."""
    period = 2 * (len(part) - 1)
    position = (offset + np.arange(length)) % period
    return part.start + np.minimum(position, period - position)


def plan_video(
    films: Sequence[Film], label: str, options: SetOptions, rng: np.random.Generator
) -> list[Piece]:
    """Choose the pieces of one video with segments of the class ``label``.

    Every background stretch consists of one or two pieces.
    """
    low, high = options.segments
    count = int(rng.integers(low, high + 1))
    pieces = []
    for stretch in range(count + 1):
        shortest, longest = options.background_length
        length = int(rng.integers(shortest, longest + 1))
        first = length
        if length >= 2 * shortest and rng.random() < 0.5:
            first = int(rng.integers(shortest, length - shortest + 1))
        for part in filter(None, (first, length - first)):
            pieces.append(_piece(films, BACKGROUND, part, rng))
        if stretch < count:
            shortest, longest = options.segment_length
            # Short and long segments are equally frequent on a logarithmic scale.
            drawn = np.exp(rng.uniform(np.log(shortest), np.log(longest + 1)))
            pieces.append(_piece(films, label, min(int(drawn), longest), rng))
    return pieces


def plan_clip(
    films: Sequence[Film], label: str, options: SetOptions, rng: np.random.Generator
) -> list[Piece]:
    """Choose the one piece of a trimmed clip of the class ``label``."""
    return [_piece(films, label, options.clip_length, rng)]


def _piece(
    films: Sequence[Film], label: str, length: int, rng: np.random.Generator
) -> Piece:
    candidates = [number for number, film in enumerate(films) if film.label == label]
    film = candidates[int(rng.integers(len(candidates)))]
    share = rng.uniform(SMALLEST_VIEW, 1.0)
    view = (rng.uniform(0, 1 - share), rng.uniform(0, 1 - share), share)
    offset = int(rng.integers(2 * len(films[film].frames)))
    return Piece(film, offset, length, view, bool(rng.random() < 0.5))


def segments_of(
    pieces: Sequence[Piece], films: Sequence[Film]
) -> list[tuple[int, int, str]]:
    """Return first frame, frame after the last, and class of each segment."""
    found, first = [], 0
    for piece in pieces:
        end = first + piece.length
        if films[piece.film].label != BACKGROUND:
            found.append((first, end, films[piece.film].label))
        first = end
    return found


def render(
    pieces: Sequence[Piece], films: Sequence[Film], subset: str, options: SetOptions
) -> np.ndarray:
    """Render the frames uint8 ``[T, height, width, 3]`` of a planned video."""
    size = (options.width, options.height)
    shown = []
    for piece in pieces:
        frames = films[piece.film].frames
        part = subset_range(len(frames), subset, options.validation_share)
        height, width = frames.shape[1:3]
        top, left, share = piece.view
        rows = slice(round(top * height), round((top + share) * height))
        columns = slice(round(left * width), round((left + share) * width))
        for number in back_and_forth(part, piece.offset, piece.length):
            picture = frames[number][rows, columns]
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            shown.append(picture[:, ::-1] if piece.mirrored else picture)
    return np.stack(shown)


def class_names(films: Sequence[Film]) -> list[str]:
    """Return the classes in alphabetical order, the background last."""
    names = {film.label for film in films} - {BACKGROUND}
    if not names or all(film.label != BACKGROUND for film in films):
        raise DataFileError(
            f'{len(films)} films with the labels {sorted({f.label for f in films})}: '
            f'needed are at least one {BACKGROUND!r} and one class'
        )
    return [*sorted(names), BACKGROUND]
