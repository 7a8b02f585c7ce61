"""Ref-YouTube-VOS: sentences for objects through whole videos."""

import json
import os.path as osp
from typing import Any, Dict, List, Set

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.utils import track_progress

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import DataFileError

from .palette_masks import read_palette
from .sentences import normalized
from .windows import windows_of_video

SUBSETS = ('train', 'valid')


@DATASETS.register_module()
class RefYouTubeVOSDataset(BaseDataset):
    """Windows (training) or whole videos of Ref-YouTube-VOS, each with a sentence.

    ``data_root`` holds ``meta_expressions``, and for each subset ``JPEGImages`` and, of
    training alone, ``Annotations``. A window of training in which the object never
    appears is left out; which objects a frame shows is read from all annotations once
    and kept in ``train/visible_objects.json``. The published file of ``valid`` lists
    the videos of ``test`` too; those are left out.

    Args:
        subset: ``'train'`` (3,471 videos) or ``'valid'`` (202, without annotations).
        window_size: Annotated frames of a window.
        whole_videos: Whether a sample is a video as a whole, as for testing.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        DataFileError: If a file is missing or damaged.

    Source: URVOS (ECCV 2020); MTTR, ``datasets/refer_youtube_vos``.
    """

    METAINFO = dict(classes=('referred',))

    def __init__(
        self,
        subset: str = 'train',
        window_size: int = 12,
        whole_videos: bool = False,
        **kwargs: Any,
    ) -> None:
        if subset not in SUBSETS:
            raise DataFileError(
                f'subset is {subset!r}; Ref-YouTube-VOS has {" and ".join(SUBSETS)}'
            )
        if window_size < 1:
            raise DataFileError(f'window_size is {window_size}; give 1 or more')
        self.subset, self.window_size = subset, window_size
        self.whole_videos = whole_videos or subset == 'valid'
        super().__init__(**kwargs)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Return samples in order of videos, sentences and windows."""
        videos = self._expressions(self.subset)
        if self.subset == 'valid':
            of_test = self._expressions('test')
            videos = {
                name: video for name, video in videos.items() if name not in of_test
            }
        visible = {} if self.whole_videos else self._visible_objects(videos)
        samples = []
        for name, video in sorted(videos.items()):
            frames = sorted(video['frames'])
            windows = [list(range(len(frames)))]
            if not self.whole_videos:
                windows = windows_of_video(len(frames), self.window_size)
            for expression, entry in video['expressions'].items():
                target = int(entry.get('obj_id', 0))
                for window in windows:
                    shown = [frames[n] for n in window]
                    if not self.whole_videos and not any(
                        target in visible[name][frame] for frame in shown
                    ):
                        continue
                    samples.append(self._sample(name, expression, entry, shown, target))
        return samples

    def _sample(
        self, video: str, expression: str, entry: dict, frames: List[str], target: int
    ) -> Dict[str, Any]:
        folder = osp.join(self.data_root, self.subset)
        images = osp.join(folder, 'JPEGImages', video)
        sample: Dict[str, Any] = dict(
            frame_paths=[osp.join(images, f'{frame}.jpg') for frame in frames],
            frame_names=frames,
            text=normalized(entry['exp']),
            video=video,
            expression=expression,
            image_id=f'v_{video}_e_{expression}_f_{frames[0]}',
        )
        if self.subset == 'train':
            masks = osp.join(folder, 'Annotations', video)
            sample['mask_paths'] = [osp.join(masks, f'{frame}.png') for frame in frames]
            sample['instance'] = target
        return sample

    def _expressions(self, subset: str) -> Dict[str, dict]:
        path = osp.join(
            self.data_root, 'meta_expressions', subset, 'meta_expressions.json'
        )
        try:
            with open(path, encoding='utf-8') as file:
                return json.load(file)['videos']
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataFileError(
                f'{path} is no list of expressions ({error}); unpack '
                'meta_expressions into data_root'
            ) from None

    def _visible_objects(self, videos: Dict[str, dict]) -> Dict[str, Dict[str, Set]]:
        """Return the objects of every frame, ``{video: {frame: objects}}``."""
        path = osp.join(self.data_root, self.subset, 'visible_objects.json')
        try:
            with open(path, encoding='utf-8') as file:
                kept = json.load(file)
        except (OSError, ValueError):
            kept = {}
        known = all(
            set(video['frames']) <= set(kept.get(name, ()))
            for name, video in videos.items()
        )
        if not known:
            print_log(
                f'reading the objects of every frame into {path}, once', 'current'
            )
            names = sorted(videos)
            found = track_progress(
                lambda name: self._objects_of(name, videos[name]['frames']), names
            )
            kept = dict(zip(names, found))
            try:
                with atomic_open(path, 'w', 'utf-8') as file:
                    json.dump(kept, file)
            except OSError as error:
                print_log(f'{path} cannot be kept ({error})', 'current')
        return {
            name: {frame: set(objects) for frame, objects in frames.items()}
            for name, frames in kept.items()
        }

    def _objects_of(self, video: str, frames: List[str]) -> Dict[str, List[int]]:
        folder = osp.join(self.data_root, self.subset, 'Annotations', video)
        return {
            frame: np.unique(read_palette(osp.join(folder, f'{frame}.png'))).tolist()
            for frame in frames
        }
