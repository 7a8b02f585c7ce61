"""Times at which the frames of a video are shown.

Phones, screen recorders and streams that stall write files of a variable frame rate.
There the n-th of N frames is not shown at n/N of the video, while annotations are in
seconds. The container's presentation times say when it is.
"""

import os
from typing import Any, Dict, Optional

import numpy as np

_ROUNDING = 2.5e-7


def frame_times(results: Dict[str, Any]) -> Optional[np.ndarray]:
    """Return the presentation times of an opened video.

    decord's reader knows them; of a local file that another reader has opened they are
    read with decord too, which looks at the packets only, or with OpenCV.

    Args:
        results: Sample with ``video_reader``, ``total_frames`` and ``filename``.

    Returns:
        Seconds at which each frame appears, and at which the last one ends, float64
        [n + 1], never falling; None where they are unknown.
    """
    total = int(results['total_frames'])
    reader = results.get('video_reader')
    spans: Optional[np.ndarray]
    if hasattr(reader, 'get_frame_timestamp'):
        spans = _decord_spans(reader)
    else:
        path = str(results.get('new_path') or results.get('filename', ''))
        spans = _spans_of_file(path) if reader and os.path.isfile(path) else None
    if spans is None or len(spans) != total or total < 2:
        return None
    times = np.append(spans[:, 0], spans[-1, 1])
    if times[-1] <= times[-2]:
        # The container does not say how long the last frame stays: as the one before.
        times[-1] = 2 * times[-2] - times[-3]
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        return None
    return times


def has_constant_rate(times: np.ndarray) -> bool:
    """Return whether each frame appears within half a frame of its place at one rate.

    Args:
        times: Of :func:`frame_times`, [n + 1].
    """
    starts = times[:-1] - times[0]
    interval = starts[-1] / (len(starts) - 1)
    places = interval * np.arange(len(starts))
    return bool(np.abs(starts - places).max() <= interval / 2)


def frames_at_equal_times(times: np.ndarray, num_frames: int) -> np.ndarray:
    r"""Return the frames on screen in the middle of ``num_frames`` equal spans of time.

    .. math::
        k_i = \max \{ k : s_k \le s_0 + (i + 1/2) \, (s_n - s_0) / m \}, \quad
        i = 0 \ldots m - 1

    with :math:`s_k` the time at which frame :math:`k` appears and :math:`s_n` the end.

    Args:
        times: Of :func:`frame_times`, [n + 1].
        num_frames: m.

    Returns:
        Frame numbers, int64 [num_frames], never falling.
    """
    share = (np.arange(num_frames) + 0.5) / num_frames
    middles = times[0] + share * (times[-1] - times[0])
    # decord gives float32: what falls on the boundary of frames must not depend on it.
    middles += _ROUNDING * times[-1]
    found = np.searchsorted(times[:-1], middles, side='right') - 1
    return found.clip(0, len(times) - 2).astype(np.int64)


def _decord_spans(reader: Any) -> np.ndarray:
    spans = reader.get_frame_timestamp(range(len(reader)))
    return np.asarray(spans, dtype=np.float64).reshape(-1, 2)


def _spans_of_file(path: str) -> Optional[np.ndarray]:
    try:
        import decord
    except ImportError:
        return _opencv_spans(path)
    try:
        return _decord_spans(decord.VideoReader(path, num_threads=1))
    except Exception:  # decord has error classes of its own
        return None


def _opencv_spans(path: str) -> Optional[np.ndarray]:
    """Start of every frame, twice; OpenCV has to decode the video for it."""
    import cv2

    capture = cv2.VideoCapture(path)
    starts = []
    while capture.grab():
        starts.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    return np.array([starts, starts]).T if starts else None
