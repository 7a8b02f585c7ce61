"""JHMDB-Sentences: a sentence for the one person of a video, for testing alone."""

import csv
import json
import os.path as osp
from glob import glob
from typing import Any, Dict, List, Optional, Tuple

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from dr2net_mm.errors import DataFileError

from .jhmdb_files import read_person_masks
from .sentences import normalized
from .windows import window_around

#: Frames of a video that are evaluated.
FRAMES_OF_A_VIDEO = 3


@DATASETS.register_module()
class JHMDBSentencesDataset(BaseDataset):
    """Three frames of each of the 928 videos of JHMDB-Sentences, with its sentence.

    ``data_root`` holds ``jhmdb_annotation.txt``, ``Rename_Images`` and ``puppet_mask``.
    Published numbers depend on which frames are drawn: MTTR's authors drew 2,784 at
    random and publish the list.

    Args:
        samples_file: Their list, ``jhmdb_sentences_samples_metadata.json``. Without it
            the frames in the middle of each third of a video are taken: the same in
            each run, but others than in published numbers.
        window_size: Frames that the model sees.
        **kwargs: Arguments of MMEngine's ``BaseDataset``.

    Raises:
        DataFileError: If a file is missing or damaged.

    Source: Gavrilyuk et al., CVPR 2018; MTTR, ``datasets/jhmdb_sentences``.
    """

    METAINFO = dict(classes=('referred',))

    def __init__(
        self,
        samples_file: Optional[str] = None,
        window_size: int = 8,
        **kwargs: Any,
    ) -> None:
        if window_size < 1:
            raise DataFileError(f'window_size is {window_size}; give 1 or more')
        self.samples_file, self.window_size = samples_file, window_size
        super().__init__(**kwargs)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Return samples in order of the sentences and frames."""
        drawn = self._by_rule() if self.samples_file is None else self._from_file()
        samples = []
        for row, (video, action, frame, length, text) in enumerate(drawn):
            frames = osp.join(self.data_root, 'Rename_Images', action, video)
            masks = osp.join(self.data_root, 'puppet_mask', action, video)
            numbers = window_around(frame, self.window_size, length)
            samples.append(
                dict(
                    # Files are numbered from 1, masks from 0.
                    frame_paths=[osp.join(frames, f'{n + 1:05d}.png') for n in numbers],
                    annotated=[self.window_size // 2],
                    mask_path=osp.join(masks, 'puppet_mask.mat'),
                    frame=frame,
                    text=normalized(text),
                    image_id=f'v_{video}_f_{frame + 1}_s_{row}',
                )
            )
        return samples

    def _by_rule(self) -> List[Tuple[str, str, int, int, str]]:
        actions = {
            osp.basename(folder): osp.basename(osp.dirname(folder))
            for folder in glob(osp.join(self.data_root, 'Rename_Images', '*', '*'))
        }
        drawn = []
        for video, text in read_sentences(
            osp.join(self.data_root, 'jhmdb_annotation.txt')
        ):
            if video not in actions:
                raise DataFileError(
                    f'{self.data_root}/Rename_Images has no folder of the video '
                    f'{video!r}; unpack the frames again'
                )
            action = actions[video]
            path = osp.join(
                self.data_root, 'puppet_mask', action, video, 'puppet_mask.mat'
            )
            folder = osp.join(self.data_root, 'Rename_Images', action, video)
            files = len(glob(osp.join(folder, '*.png')))
            # The last frames of a video may have no masks.
            length = min(files, len(read_person_masks(path)))
            for number in range(FRAMES_OF_A_VIDEO):
                frame = length * (2 * number + 1) // (2 * FRAMES_OF_A_VIDEO)
                drawn.append((video, action, frame, length, text))
        return drawn

    def _from_file(self) -> List[Tuple[str, str, int, int, str]]:
        path = str(self.samples_file)
        try:
            with open(path, encoding='utf-8') as file:
                rows = json.load(file)
            return [
                (
                    video,
                    osp.basename(osp.dirname(osp.dirname(frame))),
                    int(osp.splitext(osp.basename(frame))[0]) - 1,
                    int(length),
                    text,
                )
                for video, frame, _, length, text in rows
            ]
        except (OSError, ValueError, TypeError) as error:
            raise DataFileError(
                f'{path} is not a list of [video, frame file, mask file, frames, '
                f'sentence] ({error})'
            ) from None


def read_sentences(path: str) -> List[Tuple[str, str]]:
    """Read video and sentence of each row of ``jhmdb_annotation.txt``.

    Raises:
        DataFileError: If the file is missing or a line has other columns.
    """
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise DataFileError(
            f'{path} cannot be read ({error.strerror}); set data_root of the data set '
            'to the folder of JHMDB-Sentences'
        ) from None
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DataFileError(
                f'{path}, line {number}: {",".join(row)[:60]!r} has not the two '
                'columns video_id,query; commas in a sentence need quotes around it'
            )
    return [(video, text) for video, text in rows[1:]]
