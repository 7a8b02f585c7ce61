"""Which frames a window shows, and how large they are shown."""

from typing import List, Tuple


def window_around(frame: int, size: int, length: int) -> List[int]:
    """Return the numbers of the frames of a window with a frame in its middle.

        f − ⌊size/2⌋ … f + ⌈size/2⌉ − 1, clipped to 0 … length − 1

    The annotated frame stands at place ⌊size/2⌋. At the ends of a video the first or
    last frame is repeated; in a video that was decoded shorter than annotated, also in
    place of the annotated frame.

    Args:
        frame: Number of the annotated frame, from 0.
        size: Frames of the window.
        length: Frames of the video.
    """
    first = frame - size // 2
    return [min(max(n, 0), length - 1) for n in range(first, first + size)]


def windows_of_video(length: int, size: int) -> List[List[int]]:
    """Return windows that cover a video without overlap, but for the last one.

    The last one is moved back to be full; a video that is shorter than a window gives
    one, which repeats its last frame.

    Args:
        length: Annotated frames of the video.
        size: Frames of a window.
    """
    if length < size:
        return [[min(n, length - 1) for n in range(size)]]
    starts = list(range(0, length - size + 1, size))
    if length % size:
        starts.append(length - size)
    return [list(range(start, start + size)) for start in starts]


def resized_shape(height: int, width: int, short: int, long: int) -> Tuple[int, int]:
    """Return the size of a frame whose shorter side becomes ``short``, as in DETR.

    Where the longer side would exceed ``long`` the shorter one becomes
    round(long·shorter/longer). The other side is truncated, not rounded.

    Args:
        height: Of the frame.
        width: Of the frame.
        short: Shorter side wanted, in pixels.
        long: Largest longer side.
    """
    shorter, longer = sorted((height, width))
    if longer / shorter * short > long:
        short = round(long * shorter / longer)
    if shorter == short:
        return height, width
    if width < height:
        return int(short * height / width), short
    return short, int(short * width / height)
