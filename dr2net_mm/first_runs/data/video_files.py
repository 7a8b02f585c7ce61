"""Small video files that are read back frame by frame exactly as they were cut."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import cv2
import numpy as np

from dr2net_mm.errors import DataFileError

# A codec that OpenCV's own wheel writes without any library of the system.
CODEC = 'mp4v'
# Mean difference, of 255 levels, that lossy compression may make to a frame.
LARGEST_LOSS = 16.0
_BLOCK = 32


def read_film(
    path: Path, height: int, width: int, first: int = 0, last: int | None = None
) -> np.ndarray:
    """Read a film, cut centrally to the wanted proportions and made small.

    Args:
        path: a file that decord reads.
        height: of the result, in pixels.
        width: of the result, in pixels.
        first: first frame to read.
        last: frame after the last one to read; the film's end if ``None``.

    Returns:
        RGB frames uint8 ``[T, height, width, 3]``.

    Raises:
        DataFileError: if the file is no video or breaks off.
    """
    from decord import VideoReader, logging

    # Some films start in the middle of a stream; silence the decoder's warning.
    logging.set_level(logging.FATAL)
    frames = []
    try:
        reader = VideoReader(str(path), num_threads=1)
        last = len(reader) if last is None else min(last, len(reader))
        for start in range(first, last, _BLOCK):
            block = reader.get_batch(range(start, min(start + _BLOCK, last)))
            frames += [_fit(frame, height, width) for frame in block.asnumpy()]
    except Exception as error:  # decord has error classes of its own
        reason = str(error).strip().splitlines()[:1]
        raise DataFileError(
            f'{path} cannot be read as a video ({"".join(reason)}): fetch it again'
        ) from None
    if not frames:
        raise DataFileError(f'{path} has no frame from number {first} on')
    return np.stack(frames)


def read_photo(path: Path, height: int, width: int) -> np.ndarray:
    """Read a photo as a film of one frame, uint8 ``[1, height, width, 3]``.

    Raises:
        DataFileError: if the file is no picture.
    """
    picture = cv2.imread(str(path))
    if picture is None:
        raise DataFileError(f'{path} cannot be read as a picture: fetch it again')
    return _fit(picture[..., ::-1], height, width)[None]


def _fit(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crop the central part of the wanted proportions, and resize it."""
    rows, columns = frame.shape[:2]
    scale = min(rows / height, columns / width)
    kept_rows, kept_columns = round(height * scale), round(width * scale)
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    part = frame[top : top + kept_rows, left : left + kept_columns]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)


def write_video(path: Path, frames: np.ndarray, fps: float) -> None:
    """Write RGB frames ``[T, H, W, 3]`` as MPEG-4.

    Raises:
        DataFileError: if OpenCV cannot write videos here.
    """
    height, width = frames.shape[1:3]
    code = cv2.VideoWriter.fourcc(*CODEC)
    writer = cv2.VideoWriter(str(path), code, fps, (width, height))
    if not writer.isOpened():
        raise DataFileError(
            f'OpenCV cannot write {path} with codec {CODEC}: install the wheel '
            'opencv-python (or -headless), which brings its own encoder'
        )
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def check_video(
    path: Path, frames: np.ndarray, fps: float, cuts: Sequence[int] = ()
) -> None:
    """Read a written file back and compare it with what it should hold.

    Checked are the number of frames, the frame rate, every frame's difference from the
    original, that each cut lies exactly between the two frames where it was made, and
    that frames read by number equal those read in order.

    Args:
        path: the file.
        frames: what was written, RGB uint8 ``[T, H, W, 3]``.
        fps: what was asked for, in frames a second.
        cuts: numbers of the frames at which another film begins.

    Raises:
        DataFileError: if one of these does not hold.
    """
    from decord import VideoReader

    reader = VideoReader(str(path), num_threads=1)
    if len(reader) != len(frames):
        raise DataFileError(
            f'{path} was written with {len(frames)} frames and read back with '
            f'{len(reader)}; another version of decord or OpenCV may help'
        )
    if abs(reader.get_avg_fps() - fps) > 0.01 * fps:
        raise DataFileError(
            f'{path} was written at {fps:g} frames a second and reads as '
            f'{reader.get_avg_fps():g}'
        )
    read = reader.get_batch(range(len(frames))).asnumpy()
    loss = [_difference(one, other) for one, other in zip(read, frames)]
    if max(loss) > LARGEST_LOSS:
        raise DataFileError(
            f'{path}: frame {int(np.argmax(loss))} came back {max(loss):.0f} of 255 '
            f'levels away from what was written (accepted: {LARGEST_LOSS:g}); the '
            'frames are out of order or the picture is too small for the codec'
        )
    for cut in cuts:
        if _difference(frames[cut], frames[cut - 1]) < LARGEST_LOSS:
            continue  # Too alike to tell them apart after compression.
        for number, other in ((cut - 1, cut), (cut, cut - 1)):
            itself = _difference(read[number], frames[number])
            if itself > _difference(read[number], frames[other]):
                raise DataFileError(
                    f'{path}: frame {number} beside the cut at {cut} came back as its '
                    'neighbor; the boundary would not be exact'
                )
    asked = sorted({n for cut in cuts for n in (cut, cut - 1)}, reverse=True)
    again = VideoReader(str(path), num_threads=1)
    for number in asked:
        if not np.array_equal(again[number].asnumpy(), read[number]):
            raise DataFileError(
                f'{path}: frame {number} read by its number differs from the one read '
                'in order; decord cannot seek in this file'
            )


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())
