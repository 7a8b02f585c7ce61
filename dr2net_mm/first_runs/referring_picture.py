"""A picture of sentences: frames, the predicted mask and the ground truth."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw

TRUTH_COLOR = (255, 210, 0)
PREDICTION_COLOR = (0, 225, 255)
_CAPTION_HEIGHT = 20
_BACKGROUND = (20, 20, 20)
_OPACITY = 0.55


class Row(NamedTuple):
    """One sentence of the picture.

    ``frames`` are those of the window, RGB uint8 ``[T, H, W, 3]``, ``annotated`` the
    number of the one that the masks, bool ``[H, W]``, are of.
    """

    sentence: str
    frames: np.ndarray
    annotated: int
    predicted: np.ndarray
    truth: np.ndarray


def painted(frame: np.ndarray, mask: np.ndarray, color: Sequence[int]) -> np.ndarray:
    """Paint a mask over a frame, uint8 ``[H, W, 3]``."""
    shown = frame.astype(np.float32)
    shown[mask] += (np.array(color, np.float32) - shown[mask]) * _OPACITY
    return shown.round().astype(np.uint8)


def overlap(row: Row) -> float:
    """Intersection over union of a row's masks; 1 where both are empty."""
    union = (row.predicted | row.truth).sum()
    return float((row.predicted & row.truth).sum() / union) if union else 1.0


def referring_picture(rows: Sequence[Row], scale: int = 3) -> Image.Image:
    """Draw a line for each sentence: first and last frame, prediction, ground truth.

    Args:
        rows: sentences, with frames of one size.
        scale: how much larger than the frames the panels are.

    Returns:
        An image of four panels a line, each line below its sentence.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if not rows:
        raise ValueError('there are no sentences to draw')
    height, width = (side * scale for side in rows[0].frames.shape[1:3])
    line = height + _CAPTION_HEIGHT
    picture = Image.new('RGB', (4 * width, line * len(rows)), _BACKGROUND)
    pen = ImageDraw.Draw(picture)
    for number, row in enumerate(rows):
        top = number * line
        frame = row.frames[row.annotated]
        panels = (
            ('', (255, 255, 255), row.frames[0]),
            ('last frame', (255, 255, 255), row.frames[-1]),
            (
                f'predicted, IoU {overlap(row):.2f}',
                PREDICTION_COLOR,
                painted(frame, row.predicted, PREDICTION_COLOR),
            ),
            ('ground truth', TRUTH_COLOR, painted(frame, row.truth, TRUTH_COLOR)),
        )
        for place, (caption, color, panel) in enumerate(panels):
            image = Image.fromarray(panel).resize(
                (width, height), Image.Resampling.BILINEAR
            )
            picture.paste(image, (place * width, top + _CAPTION_HEIGHT))
            pen.text((place * width + 6, top + 4), caption, fill=color)
        pen.text((6, top + 4), row.sentence, fill=(255, 255, 255))
    return picture
