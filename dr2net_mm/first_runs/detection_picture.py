"""A picture of detections beside the boxes that they should have found."""

from __future__ import annotations

from typing import Iterable, Sequence

from PIL import Image, ImageDraw

TRUTH_COLOR = (255, 210, 0)
DETECTION_COLOR = (0, 225, 255)
_CAPTION_HEIGHT = 20


def _panel(
    image: Image.Image,
    boxes: Iterable[Sequence[float]],
    color: Sequence[int],
    caption: str,
    scale: int,
) -> Image.Image:
    size = (image.width * scale, image.height * scale)
    panel = Image.new('RGB', (size[0], size[1] + _CAPTION_HEIGHT), (20, 20, 20))
    panel.paste(
        image.convert('RGB').resize(size, Image.Resampling.BILINEAR),
        (0, _CAPTION_HEIGHT),
    )
    pen = ImageDraw.Draw(panel)
    for box in boxes:
        x_min, y_min, x_max, y_max = (round(value * scale) for value in box)
        corners = (x_min, y_min + _CAPTION_HEIGHT, x_max, y_max + _CAPTION_HEIGHT)
        pen.rectangle(corners, outline=tuple(color), width=2)
    # Drawn last: a box at the upper border must not cover it.
    pen.rectangle((0, 0, size[0], _CAPTION_HEIGHT - 1), fill=(20, 20, 20))
    pen.text((6, 4), caption, fill=tuple(color))
    return panel


def detection_picture(
    image: Image.Image,
    truth: list[Sequence[float]],
    detections: list[Sequence[float]],
    scale: int = 2,
) -> Image.Image:
    """Draw the same image twice: ground truth on the left, detections on the right.

    Args:
        image: pixels ``[H, W, 3]``.
        truth: boxes ``(x_min, y_min, x_max, y_max)`` in pixels of the image.
        detections: boxes of the same form.
        scale: how much larger than the image a panel is.

    Returns:
        An image of ``scale * 2 W`` pixels and a line of captions.
    """
    left = _panel(image, truth, TRUTH_COLOR, f'ground truth: {len(truth)}', scale)
    right = _panel(
        image, detections, DETECTION_COLOR, f'detections: {len(detections)}', scale
    )
    picture = Image.new('RGB', (left.width + right.width, left.height))
    picture.paste(left, (0, 0))
    picture.paste(right, (left.width, 0))
    return picture
