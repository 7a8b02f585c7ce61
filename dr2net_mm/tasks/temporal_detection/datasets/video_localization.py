"""Temporal action detection from video files."""

import logging
from typing import Any, Dict, List, Optional, Sequence, Union

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from dr2net_mm.errors import DataFileError

from .temporal_annotations import (
    ACTIVITYNET_PREFIX,
    Action,
    AnnotatedVideo,
    all_labels,
    check_actions,
    load_annotations,
    load_video_names,
    summarize,
)
from .video_folder import find_videos
from .video_readers import reading_problem

EXTENSIONS = ('.mp4', '.mkv', '.webm', '.avi', '.mov')
ON_PROBLEM = ('error', 'drop')
FILTERS = ('filter_empty_gt', 'min_relative_length')


@DATASETS.register_module()
class VideoLocalizationDataset(BaseDataset):
    """Untrimmed videos with annotated segments, for training from raw frames.

    A sample begins as ``filename``, ``video_name``, ``duration_second``,
    ``annotations`` (``dict(segment=[start, end], label=str)``, in seconds), ``labels``
    (the class of each annotation as a number), and what mmaction's decoding transforms
    read: ``modality`` and ``start_index``.

    Videos of the subset that have no file in the folder are left out and counted in
    the log; so are those on the list of blocked videos.

    Args:
        ann_file: JSON of ActivityNet-v1.3 (``"database"``), or of mmaction's feature
            data sets. The latter has no subsets: all of it is used.
        subset: ``'training'``, ``'validation'`` or ``'testing'``, as in the file.
        data_prefix: ``dict(video=folder)``, the folder of the video files.
        name_prefix: What file names have before the id of a video; a file without it
            is found too. The meta key ``video_name`` is this and the id, which is
            what mmaction's ``ANetMetric`` expects.
        extensions: Endings of video files, the preferred one first.
        blocked_videos: Ids to leave out: a list, or a file with them.
        max_missing: Share of the subset's videos, 0 to 1, that may have no file, or
            that may be unreadable when those are dropped.
        boundary_tolerance: Seconds by which a segment may leave its video; it is cut
            there. A segment that leaves it by more is wrong.
        wrong_segments: What to do with a wrong segment (reversed, empty, not finite,
            or outside the video): ``'error'``, or ``'drop'`` with a count in the log.
        unreadable_videos: What to do in training with a video that the pipeline
            cannot read: ``'error'``, or ``'drop'``, which takes another one instead
            and logs it. A test stops at such a video in any case.
        filter_cfg: For training: ``filter_empty_gt=True`` leaves out videos without
            segments, ``min_relative_length=0.01`` segments that are not longer than
            that fraction of their video.
        metainfo: ``dict(classes=[...])`` fixes the classes and their order. Without
            it they are all labels of the file, in any subset, sorted.
        backend_args: Arguments of MMEngine's file backend.

    Raises:
        DataFileError: If annotations or videos are missing or wrong.
        ValueError: If an argument is outside its range.
    """

    METAINFO: dict = dict(dataset_type='video_localization')

    def __init__(
        self,
        ann_file: str,
        subset: str = 'training',
        data_prefix: Optional[dict] = None,
        name_prefix: str = ACTIVITYNET_PREFIX,
        extensions: Sequence[str] = EXTENSIONS,
        blocked_videos: Union[str, Sequence[str], None] = None,
        max_missing: float = 0.25,
        boundary_tolerance: float = 1.0,
        wrong_segments: str = 'error',
        unreadable_videos: str = 'error',
        filter_cfg: Optional[dict] = None,
        metainfo: Optional[dict] = None,
        backend_args: Optional[dict] = None,
        **kwargs: Any,
    ) -> None:
        for name, value in (
            ('wrong_segments', wrong_segments),
            ('unreadable_videos', unreadable_videos),
        ):
            if value not in ON_PROBLEM:
                raise ValueError(f'{name} is {value!r}; it is one of {ON_PROBLEM}')
        if not 0 <= max_missing <= 1:
            raise ValueError(f'max_missing is {max_missing}; it is a share, 0 to 1')
        if not boundary_tolerance >= 0:
            raise ValueError(
                f'boundary_tolerance is {boundary_tolerance}; give seconds, at least 0'
            )
        unknown = sorted(set(filter_cfg or {}) - set(FILTERS))
        if unknown:
            raise ValueError(f'filter_cfg has {unknown}; it takes {FILTERS}')
        self.subset = subset
        self.name_prefix = name_prefix
        self.extensions = tuple(extension.lower() for extension in extensions)
        self.blocked_videos = blocked_videos
        self.max_missing = max_missing
        self.boundary_tolerance = boundary_tolerance
        self.wrong_segments = wrong_segments
        self.unreadable_videos = unreadable_videos
        self.unreadable: Dict[int, str] = {}
        self.backend_args = backend_args
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_prefix=dict(video='') if data_prefix is None else dict(data_prefix),
            filter_cfg=filter_cfg,
            **kwargs,
        )

    def load_data_list(self) -> List[dict]:
        """Read the annotations of the subset and find its video files."""
        database = load_annotations(self.ann_file, self.backend_args)
        videos = [v for v in database.values() if v.belongs_to(self.subset)]
        if not videos:
            subsets = sorted({str(v.subset) for v in database.values()})
            raise DataFileError(
                f'{self.ann_file} has no videos in the subset {self.subset!r}; its '
                f'subsets are {", ".join(subsets)}'
            )
        self._metainfo.setdefault('classes', all_labels(database))
        self._metainfo['classes'] = tuple(self._metainfo['classes'])
        videos = self._without_blocked(videos)
        files = find_videos(
            self.data_prefix['video'],
            [v.video_id for v in videos],
            self.name_prefix,
            self.extensions,
            self.backend_args,
        )
        missing = [v.video_id for v in videos if v.video_id not in files]
        self._report_missing(missing, len(videos))
        samples, problems = [], []
        for video in videos:
            if video.video_id in files:
                actions, wrong = check_actions(video, self.boundary_tolerance)
                problems += wrong
                samples.append(self._sample(video, files[video.video_id], actions))
        self._report_wrong_segments(problems)
        return samples

    def filter_data(self) -> List[dict]:
        """Apply ``filter_cfg``; a test keeps everything."""
        if self.test_mode or not self.filter_cfg:
            return self.data_list
        shortest = self.filter_cfg.get('min_relative_length', 0.0)
        short = 0
        for sample in self.data_list:
            segments = [annotation['segment'] for annotation in sample['annotations']]
            limit = shortest * sample['duration_second']
            keep = [end - start > limit for start, end in segments]
            short += len(keep) - sum(keep)
            for key in ('annotations', 'labels'):
                sample[key] = [x for x, wanted in zip(sample[key], keep) if wanted]
        samples = self.data_list
        if self.filter_cfg.get('filter_empty_gt', False):
            samples = [sample for sample in samples if sample['annotations']]
        self._log(
            f'{self.subset}: {short} segments that are not longer than {shortest:g} of '
            f'their video and {len(self.data_list) - len(samples)} videos without '
            f'segments are left out; {len(samples)} videos remain'
        )
        if not samples:
            raise DataFileError(
                f'{self.ann_file}: no video of the subset {self.subset!r} has a '
                f'segment left after filter_cfg={dict(self.filter_cfg)}'
            )
        return samples

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline; a video that cannot be read is named.

        Returns:
            What the pipeline returns, or None where an unreadable video is dropped.

        Raises:
            DataFileError: If the video cannot be read and is not dropped.
        """
        results = self.get_data_info(idx)
        path = results['filename']
        for transform in self.pipeline.transforms:
            try:
                results = transform(results)
            except ImportError:
                raise
            except Exception as error:
                # Reading ends when there are frames; later errors are not the file's.
                if 'imgs' in results and not isinstance(error, DataFileError):
                    raise
                return self._unreadable(idx, path, error)
            if results is None:
                return None
        return results

    def _sample(self, video: AnnotatedVideo, path: str, actions: List[Action]) -> dict:
        classes = self._metainfo['classes']
        for action in actions:
            if action.label not in classes:
                raise DataFileError(
                    f'video {video.video_id!r} of {self.ann_file} has the class '
                    f'{action.label!r}, which is not one of the {len(classes)} classes '
                    'in metainfo; correct the annotation, add the class, or leave '
                    'metainfo out to use all classes of the file'
                )
        return dict(
            filename=path,
            video_name=f'{self.name_prefix}{video.video_id}',
            duration_second=video.duration,
            annotations=[
                dict(segment=[a.start, a.end], label=a.label) for a in actions
            ],
            labels=[classes.index(a.label) for a in actions],
            modality='RGB',
            start_index=0,
        )

    def _without_blocked(self, videos: List[AnnotatedVideo]) -> List[AnnotatedVideo]:
        blocked = load_video_names(self.blocked_videos, self.backend_args)
        kept = [
            video
            for video in videos
            if not {video.video_id, f'{self.name_prefix}{video.video_id}'} & blocked
        ]
        if len(kept) < len(videos):
            self._log(f'{self.subset}: {len(videos) - len(kept)} videos are blocked')
        return kept

    def _report_missing(self, missing: List[str], total: int) -> None:
        """Log the videos that have no file, or stop if they are too many."""
        if not missing:
            return
        found = (
            f'{len(missing)} of {total} videos of the subset {self.subset!r} have no '
            f'file in {self.data_prefix["video"]!r}: {summarize(missing)}'
        )
        if len(missing) == total or len(missing) > self.max_missing * total:
            raise DataFileError(
                f'{found}. A file is named {self.name_prefix}<id> or <id> with one of '
                f'{", ".join(self.extensions)}; check data_prefix, name_prefix and '
                f'extensions, or allow more than max_missing={self.max_missing:g}'
            )
        self._log(f'{found}. They are left out.', logging.WARNING)

    def _report_wrong_segments(self, problems: List[str]) -> None:
        """Log the segments that nothing can be learnt from, or stop at the first."""
        if not problems:
            return
        if self.wrong_segments == 'error':
            raise DataFileError(
                f'{self.ann_file}: {problems[0]} ({len(problems)} wrong segments in '
                "all); correct them, or set wrong_segments='drop' to leave them out"
            )
        self._log(
            f'{self.ann_file}: {len(problems)} wrong segments are left out: '
            f'{"; ".join(problems[:3])}',
            logging.WARNING,
        )

    def _unreadable(self, idx: int, path: str, error: Exception) -> None:
        """Drop a video in training if that is wanted, else raise its error."""
        reason = ' '.join(str(error).split())
        if not isinstance(error, DataFileError):
            reason = f'cannot read {path} ({reading_problem(error)}); replace the file'
        drops = self.unreadable_videos == 'drop' and not self.test_mode
        self.unreadable[idx] = path
        count, total = len(self.unreadable), len(self)
        if not drops or count == total or count > max(1, self.max_missing * total):
            also = f' ({count} of {total} videos could not be read)' if drops else ''
            raise DataFileError(
                f'{reason}, or leave the video out with blocked_videos{also}'
            ) from error
        self._log(f'{reason}. The video is left out ({count} so far).', logging.WARNING)

    @staticmethod
    def _log(message: str, level: int = logging.INFO) -> None:
        print_log(message, logger='current', level=level)
