"""A2D-Sentences: a sentence for one of the instances of an annotated frame."""

import os
import os.path as osp
from typing import Any, Dict, List

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS

from dr2net_mm.errors import DataFileError

from .a2d_files import (
    SUBSETS,
    UNUSABLE_VIDEO,
    read_instance_ids,
    read_missed_videos,
    read_sentences,
    read_video_subsets,
)


@DATASETS.register_module()
class A2DSentencesDataset(BaseDataset):
    """Samples (sentence, annotated frame) of A2D-Sentences.

    ``data_root`` holds the published folders ``Release`` (``videoset.csv`` and the
    videos, 320 pixels high, in ``clips320H``) and ``text_annotations``. A frame whose
    annotation has not the instance of a sentence gives no sample for it. Videos of
    ``a2d_missed_videos.txt``, and one whose masks do not fit, are left out. Sentences
    are in lower case, with single spaces.

    Args:
        subset: ``'train'`` (3,017 videos) or ``'test'`` (737).
        window_size: Frames that the model sees; the annotated one is at place
            ``window_size // 2``.
        videos: Folder of the videos below ``data_root``.
        annotations: Folder of the text annotations below ``data_root``.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        DataFileError: If a file is missing or damaged.

    Source: Gavrilyuk et al., CVPR 2018; MTTR, ``datasets/a2d_sentences``.
    """

    METAINFO = dict(classes=('referred',))

    def __init__(
        self,
        subset: str = 'train',
        window_size: int = 8,
        videos: str = 'Release/clips320H',
        annotations: str = 'text_annotations',
        **kwargs: Any,
    ) -> None:
        if subset not in SUBSETS:
            raise DataFileError(
                f'subset is {subset!r}; A2D-Sentences has {" and ".join(SUBSETS)}'
            )
        if window_size < 1:
            raise DataFileError(f'window_size is {window_size}; give 1 or more')
        self.subset, self.window_size = subset, window_size
        self.videos, self.annotations = videos, annotations
        super().__init__(**kwargs)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Return samples in order of the sentences and frames."""
        root = self.data_root
        folder = osp.join(root, self.annotations)
        table = osp.join(root, osp.dirname(self.videos.rstrip('/')), 'videoset.csv')
        subsets = read_video_subsets(table)
        left_out = {
            *read_missed_videos(osp.join(folder, 'a2d_missed_videos.txt')),
            UNUSABLE_VIDEO,
        }
        frames: Dict[str, Dict[int, List[int]]] = {}
        samples, skipped = [], 0
        for sentence in read_sentences(osp.join(folder, 'a2d_annotation.txt')):
            video = sentence.video
            if video in left_out:
                continue
            if video not in subsets:
                raise DataFileError(
                    f'the sentence {sentence.text!r} is of the video {video!r}, which '
                    f'{table} does not list'
                )
            if subsets[video] != SUBSETS[self.subset]:
                continue
            masks = osp.join(folder, 'a2d_annotation_with_instances', video)
            if video not in frames:
                frames[video] = annotated_frames(masks)
            path = osp.join(root, self.videos, f'{video}.mp4')
            if not osp.exists(path):
                raise DataFileError(
                    f'video file {path} is missing; tools/data/check_rvos.py lists '
                    'everything that is wrong in the folder'
                )
            for frame, instances in frames[video].items():
                if sentence.instance not in instances:
                    skipped += 1
                    continue
                samples.append(
                    dict(
                        video_path=path,
                        mask_path=osp.join(masks, f'{frame:05d}.h5'),
                        frame=frame - 1,
                        window_size=self.window_size,
                        instance=sentence.instance,
                        text=sentence.text,
                        # With the sentence, since two may name the same instance.
                        image_id=f'v_{video}_f_{frame}_i_{sentence.instance}'
                        f'_s_{sentence.row}',
                    )
                )
        print_log(
            f'A2D-Sentences {self.subset}: {len(samples)} samples; {skipped} annotated '
            'frames do not have the instance of a sentence',
            'current',
        )
        if not samples:
            raise DataFileError(
                f'{root} has no sentence for a {self.subset} video; is it the folder '
                'of A2D-Sentences?'
            )
        return samples


def annotated_frames(folder: str) -> Dict[int, List[int]]:
    """Read the instances of each annotated frame, by its number from 1.

    Raises:
        DataFileError: If the folder is missing or a file is damaged.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith('.h5'))
    except FileNotFoundError:
        raise DataFileError(
            f'annotations {folder} are missing; unpack a2d_annotation_with_instances'
        ) from None
    return {
        int(osp.splitext(name)[0]): read_instance_ids(osp.join(folder, name)).tolist()
        for name in names
    }
