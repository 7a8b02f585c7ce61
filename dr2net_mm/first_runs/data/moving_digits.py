"""Plan and show handwritten digits that move over real films, and sentences for them.

A clip has several digits. A sentence names one of them by what it alone has: which
digit it is, where it moves, how large it is, or where it is. What the sentence says
holds in every annotated frame.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import cv2
import numpy as np

WORDS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
DIRECTIONS = {'left': (-1, 0), 'right': (1, 0), 'up': (0, -1), 'down': (0, 1)}
SIZES = ('small', 'large')
PLACES = ('on the left', 'on the right', 'at the top', 'at the bottom')
KINDS = ('digit', 'direction', 'size', 'position')
#: How a sentence of each kind begins, in other words for the same.
FORMS = {
    'digit': ('the {}', 'the digit {}', 'a handwritten {}'),
    'direction': ('the digit moving {}', 'the digit that goes {}', '{} moving digit'),
    'size': ('the {} digit', 'the {} number'),
    'position': ('the digit {}', 'the number {}'),
}
# Pixels that a digit needs between its middle and that of the next one, for a sentence
# to call it the leftmost.
PLACE_MARGIN = 10
_OPAQUE = 100
_DARKEST, _BRIGHTEST = 150, 256


class DigitOptions(NamedTuple):
    """What a set is like; lengths in pixels and frames."""

    clips: tuple[int, int] = (400, 60)
    digits: tuple[int, int] = (2, 3)
    sentences: int = 2
    length: int = 12
    annotated: tuple[int, ...] = (4, 9)
    height: int = 48
    width: int = 80
    small: int = 18
    large: int = 30
    speed: tuple[float, float] = (0.8, 1.6)
    fps: int = 25
    seed: int = 0


class Digit(NamedTuple):
    """One digit of a clip.

    ``picture`` is its number among the handwritten digits, ``start`` its middle (x, y)
    in the first frame, ``step`` what it moves a frame.
    """

    picture: int
    digit: int
    size: str
    direction: str
    start: tuple[float, float]
    step: tuple[float, float]
    color: tuple[int, int, int]

    def middle(self, frame: int) -> tuple[float, float]:
        """Return its middle (x, y) in a frame, from 0."""
        return (
            self.start[0] + frame * self.step[0],
            self.start[1] + frame * self.step[1],
        )


class PlannedSentence(NamedTuple):
    """A sentence, the number of the digit that it means, and what it goes by."""

    text: str
    digit: int
    kind: str


class Clip(NamedTuple):
    """A planned clip: film, its first frame, digits (last in front), sentences."""

    film: int
    first: int
    digits: list[Digit]
    sentences: list[PlannedSentence]


def plan_clip(
    labels: np.ndarray,
    film_lengths: Sequence[int],
    options: DigitOptions,
    rng: np.random.Generator,
    first_kind: int = 0,
) -> Clip:
    """Choose film, digits and sentences of one clip.

    Args:
        labels: which digit each handwritten picture shows, [N].
        film_lengths: frames of each film.
        options: of the set.
        rng: random numbers.
        first_kind: number of the kind of sentence that is tried first.
    """
    while True:
        digits = _place_digits(labels, options, rng)
        if digits is None:
            continue
        sentences = _sentences(digits, options, rng, first_kind)
        if len(sentences) == options.sentences:
            break
    film = int(rng.integers(len(film_lengths)))
    first = int(rng.integers(max(film_lengths[film] - options.length, 0) + 1))
    return Clip(film, first, digits, sentences)


def _place_digits(
    labels: np.ndarray, options: DigitOptions, rng: np.random.Generator
) -> list[Digit] | None:
    """Choose digits that stay in the picture and do not touch where annotated."""
    low, high = options.digits
    digits = []
    for _ in range(int(rng.integers(low, high + 1))):
        picture = int(rng.integers(len(labels)))
        size = SIZES[int(rng.integers(2))]
        direction = list(DIRECTIONS)[int(rng.integers(len(DIRECTIONS)))]
        speed = rng.uniform(*options.speed)
        horizontal, vertical = (speed * part for part in DIRECTIONS[direction])
        half = _side(size, options) / 2
        start = (
            _start(options.width, horizontal, half, options.length, rng),
            _start(options.height, vertical, half, options.length, rng),
        )
        red, green, blue = rng.integers(_DARKEST, _BRIGHTEST, 3).tolist()
        digits.append(
            Digit(
                picture,
                int(labels[picture]),
                size,
                direction,
                start,
                (horizontal, vertical),
                (red, green, blue),
            )
        )
    for number, one in enumerate(digits):
        for other in digits[:number]:
            apart = (_side(one.size, options) + _side(other.size, options)) / 2
            for frame in options.annotated:
                gaps = np.abs(np.subtract(one.middle(frame), other.middle(frame)))
                if max(gaps) < 0.9 * apart:
                    return None
    return digits


def _start(
    length: int, step: float, half: float, frames: int, rng: np.random.Generator
) -> float:
    """Choose where a digit may begin along an axis to stay in the picture."""
    moved = step * (frames - 1)
    return float(rng.uniform(half - min(moved, 0), length - half - max(moved, 0)))


def _side(size: str, options: DigitOptions) -> int:
    return options.small if size == 'small' else options.large


def _sentences(
    digits: Sequence[Digit],
    options: DigitOptions,
    rng: np.random.Generator,
    first_kind: int,
) -> list[PlannedSentence]:
    """Choose sentences of different kinds, each for another digit if possible."""
    sentences: list[PlannedSentence] = []
    meant: set[int] = set()
    for shift in range(len(KINDS)):
        kind = KINDS[(first_kind + shift) % len(KINDS)]
        found = list(told_apart(digits, kind, options.annotated))
        fresh = [entry for entry in found if entry[0] not in meant]
        if not fresh:
            continue
        number, word = fresh[int(rng.integers(len(fresh)))]
        form = FORMS[kind][int(rng.integers(len(FORMS[kind])))]
        meant.add(number)
        sentences.append(PlannedSentence(form.format(word), number, kind))
        if len(sentences) == options.sentences:
            break
    return sentences


def told_apart(
    digits: Sequence[Digit], kind: str, frames: Sequence[int]
) -> list[tuple[int, str]]:
    """Find digits that one property tells from all others, and its word.

    Args:
        digits: of a clip.
        kind: one of :data:`KINDS`.
        frames: in which it has to hold.

    Returns:
        ``(number of the digit, word)``.
    """
    if kind == 'position':
        return _extremes(digits, frames)
    words = {
        'digit': [WORDS[one.digit] for one in digits],
        'direction': [one.direction for one in digits],
        'size': [one.size for one in digits],
    }[kind]
    return [(n, word) for n, word in enumerate(words) if words.count(word) == 1]


def _extremes(digits: Sequence[Digit], frames: Sequence[int]) -> list[tuple[int, str]]:
    found = []
    for place, (axis, sign) in zip(PLACES, ((0, 1), (0, -1), (1, 1), (1, -1))):
        ranks = []
        for frame in frames:
            values = [sign * one.middle(frame)[axis] for one in digits]
            order = np.argsort(values)
            clear = values[order[1]] - values[order[0]] >= PLACE_MARGIN
            ranks.append(int(order[0]) if clear else -1)
        if len(set(ranks)) == 1 and ranks[0] >= 0:
            found.append((ranks[0], place))
    return found


def render(
    clip: Clip, films: Sequence[np.ndarray], pictures: np.ndarray, options: DigitOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Render frames and masks of a clip.

    Args:
        clip: planned.
        films: RGB frames of each film, ``[T, height, width, 3]``.
        pictures: handwritten digits uint8 ``[N, 28, 28]``.
        options: of the set.

    Returns:
        Frames uint8 ``[length, height, width, 3]`` and what is seen of each digit, its
        outline included, bool ``[length, digits, height, width]``.
    """
    film = films[clip.film]
    numbers = np.minimum(clip.first + np.arange(options.length), len(film) - 1)
    frames = film[numbers].astype(np.float32)
    masks = np.zeros(
        (options.length, len(clip.digits), options.height, options.width), bool
    )
    for number, digit in enumerate(clip.digits):
        side = _side(digit.size, options)
        shape = cv2.resize(
            pictures[digit.picture], (side, side), interpolation=cv2.INTER_LINEAR
        )
        # Strokes of one pixel would be narrower than what a small model resolves.
        shape = cv2.dilate(shape, np.ones((2, 2), np.uint8))
        outlined = cv2.dilate(shape, np.ones((3, 3), np.uint8))
        outline, ink = outlined / np.float32(255), shape / np.float32(255)
        seen = outlined >= _OPAQUE
        for frame in range(options.length):
            x, y = digit.middle(frame)
            left, top = round(x - side / 2), round(y - side / 2)
            left = min(max(left, 0), options.width - side)
            top = min(max(top, 0), options.height - side)
            place = np.s_[top : top + side, left : left + side]
            part = frames[frame][place]
            part *= 1 - outline[..., None]
            part += ink[..., None] * np.array(digit.color, np.float32)
            masks[frame, :, place[0], place[1]] &= ~seen
            masks[frame, number, place[0], place[1]] |= seen
    return frames.clip(0, 255).astype(np.uint8), masks
