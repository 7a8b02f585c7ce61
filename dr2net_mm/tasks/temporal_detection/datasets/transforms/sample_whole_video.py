"""Frames at equal distances over a whole video."""

from typing import Any, Dict, Optional

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.frame_times import (
    frame_times,
    frames_at_equal_times,
    has_constant_rate,
)
from dr2net_mm.tasks.temporal_detection.datasets.video_readers import (
    read_in_order,
    show_upright,
)

SHORT_VIDEO = ('repeat', 'error')


def whole_video_indices(total_frames: int, num_frames: int) -> np.ndarray:
    r"""Return the frames in the middle of ``num_frames`` equal parts of a video.

    .. math::
        k_i = \left\lfloor \frac{(i + 1/2) \, n}{m} \right\rfloor, \quad
        i = 0 \ldots m - 1

    with :math:`n` the frames of the video and :math:`m` those wanted. A position on
    the time axis [0, 1] of the result is the same position in the video. For
    :math:`m > n` frames repeat, each about :math:`m / n` times.

    Args:
        total_frames: n, at least 1.
        num_frames: m, at least 1.

    Returns:
        Frame numbers from 0, int64 [num_frames], never falling.

    Source: Re²TAL's rescaled input; OpenTAD's ``LoadFrames(method='resize')`` rounds
        the same positions.
    """
    odd = 2 * np.arange(num_frames, dtype=np.int64) + 1
    return odd * total_frames // (2 * num_frames)


@TRANSFORMS.register_module()
class SampleWholeVideo(BaseTransform):
    """Rescale a whole video to a fixed number of frames.

    It stands between ``DecordInit`` and ``DecordDecode`` (or those of PyAV or OpenCV).
    The annotations are in seconds of the video that the annotation file speaks of, so
    the file must be as long as that: a file that was cut, or is another one, would
    shift every target.

    In a file of a variable frame rate the frames are those on screen in the middle of
    equal spans of *time*: :func:`frames_at_equal_times`. In a file of a constant rate
    that is the same as equal parts by number: :func:`whole_video_indices`. Times count
    from the first frame. Pictures are turned as the file's rotation metadata says.

    Required keys: ``total_frames``, ``video_reader``; for the check also
    ``duration_second``; for the times of a reader other than decord's ``filename``.

    Added keys: ``frame_inds``, ``clip_len``, ``num_clips``, ``frame_interval``,
    ``duration_frame`` and ``feature_frame`` (both the frames of the file: the samples
    cover all of it).

    Args:
        num_frames: Frames of the result.
        short_video: What to do with a video that has fewer frames: ``'repeat'`` the
            nearest ones, as Re²TAL and OpenTAD do, or ``'error'``.
        duration_tolerance: Seconds by which the file may be longer or shorter than
            annotated. None: not checked.
        relative_duration_tolerance: The same as a fraction of the annotated duration;
            the larger of the two counts.

    Raises:
        ValueError: If an argument is outside its range.
        DataFileError: While reading, if a video does not fit.
    """

    def __init__(
        self,
        num_frames: int = 768,
        short_video: str = 'repeat',
        duration_tolerance: Optional[float] = 2.0,
        relative_duration_tolerance: float = 0.05,
    ) -> None:
        if not isinstance(num_frames, int) or num_frames < 1:
            raise ValueError(f'num_frames is {num_frames!r}; give an int of at least 1')
        if short_video not in SHORT_VIDEO:
            raise ValueError(
                f'short_video is {short_video!r}; it is one of {SHORT_VIDEO}'
            )
        for name, value in (
            ('duration_tolerance', duration_tolerance),
            ('relative_duration_tolerance', relative_duration_tolerance),
        ):
            if value is not None and not value >= 0:
                raise ValueError(f'{name} is {value}; it must be at least 0')
        self.num_frames = num_frames
        self.short_video = short_video
        self.duration_tolerance = duration_tolerance
        self.relative_duration_tolerance = relative_duration_tolerance

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Choose the frames of one video."""
        name = results.get('filename', results.get('video_name', 'unnamed'))
        total = int(results['total_frames'])
        if total < 1:
            raise DataFileError(
                f'{name}: the container states {total} frames; it is damaged or does '
                'not store their number. Re-encode it, or read it with DecordInit'
            )
        if total < self.num_frames and self.short_video == 'error':
            raise DataFileError(
                f'{name} has {total} frames, but {self.num_frames} are asked for; set '
                "short_video='repeat' to repeat frames, or ask for fewer"
            )
        show_upright(results)
        times = frame_times(results)
        if times is None or has_constant_rate(times):
            fps = frames_per_second(results)
            duration = total / fps if fps else None
            indices = whole_video_indices(total, self.num_frames)
        else:
            duration = float(times[-1] - times[0])
            indices = frames_at_equal_times(times, self.num_frames)
            read_in_order(results)
        self._check_duration(results, name, duration)
        results['frame_inds'] = indices
        results['clip_len'] = self.num_frames
        results['num_clips'] = 1
        results['frame_interval'] = total / self.num_frames
        results['duration_frame'] = results['feature_frame'] = total
        return results

    def _check_duration(
        self, results: Dict[str, Any], name: str, measured: Optional[float]
    ) -> None:
        if self.duration_tolerance is None or 'duration_second' not in results:
            return
        if measured is None:
            return
        stated, total = float(results['duration_second']), results['total_frames']
        allowed = max(
            self.duration_tolerance, self.relative_duration_tolerance * stated
        )
        if abs(measured - stated) > allowed:
            raise DataFileError(
                f'{name} lasts {measured:.2f} s ({total} frames, '
                f'{total / measured:.3f} a second), '
                f'but its annotation says {stated:.2f} s: it is truncated or another '
                'video, and its targets would be wrong. Replace it, or correct the '
                f'annotation; {allowed:.2f} s are tolerated (duration_tolerance, '
                'relative_duration_tolerance)'
            )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(num_frames={self.num_frames}, '
            f'short_video={self.short_video!r}, '
            f'duration_tolerance={self.duration_tolerance}, '
            f'relative_duration_tolerance={self.relative_duration_tolerance})'
        )


def frames_per_second(results: Dict[str, Any]) -> Optional[float]:
    """Return the frame rate of a video from any reader; None if unknown."""
    reader = results.get('video_reader')
    rate = results.get('avg_fps')
    if rate is None:
        rate = getattr(reader, 'fps', None)
    if rate is None and reader is not None and hasattr(reader, 'streams'):
        rate = reader.streams.video[0].average_rate
    return float(rate) if rate else None
