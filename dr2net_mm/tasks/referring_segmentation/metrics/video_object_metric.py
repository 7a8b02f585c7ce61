"""J&F of objects through whole videos, and the files of a submission."""

import os
import os.path as osp
import zipfile
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from PIL import Image

from dr2net_mm.errors import UserError

from .region_and_contour import mean_over_frames


@METRICS.register_module()
class VideoObjectMetric(BaseMetric):
    """J, F and their mean over sentences, where there is ground truth.

    J and F of a sentence are means over the frames of its video, all of them. With
    ``submission`` the masks are also written as the server of Ref-YouTube-VOS takes
    them: ``Annotations/<video>/<expression>/<frame>.png`` of 0 and 255, zipped.

    Args:
        submission: File that is written, ending in ``.zip``. Without ground truth it is
            all that is made.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Raises:
        UserError: If the name of the file has another ending, or its pictures' folder
            exists.

    Source: DAVIS (CVPR 2016); URVOS (ECCV 2020).
    """

    default_prefix = 'rvos'

    def __init__(
        self,
        submission: Optional[str] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if submission is not None and not submission.endswith('.zip'):
            raise UserError(f'submission is {submission!r}; the file must end in .zip')
        self.submission = submission
        if submission is not None and is_main_process() and osp.exists(self._folder):
            raise UserError(
                f'{self._folder} exists; pictures of an earlier run would be zipped '
                'too: remove it or name another submission'
            )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure the videos of a batch, and write their pictures.

        Args:
            data_batch: Unused.
            data_samples: Samples as dictionaries, with ``pred_instances`` of one mask
                [1, T, H, W] and, where there is one, ``truth`` [T, H, W].
        """
        for sample in data_samples:
            masks = sample['pred_instances']['masks'].cpu().numpy()
            if len(masks) != 1:
                raise ValueError(
                    f'{sample["image_id"]} has {len(masks)} masks a frame; build MTTR '
                    'with whole_video=True'
                )
            result = dict(image_id=sample['image_id'], score=None)
            if sample.get('truth') is not None:
                truth = sample['truth'].cpu().numpy().astype(bool)
                result['score'] = mean_over_frames(masks[0], truth)
            if self.submission is not None:
                self._write(masks[0], sample)
            self.results.append(result)

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Average over all sentences; empty without ground truth."""
        if self.submission is not None:
            pack_submission(self._folder, self.submission)
            MMLogger.get_current_instance().info(f'wrote {self.submission}')
        videos = {result['image_id']: result['score'] for result in results}
        scores = [score for score in videos.values() if score is not None]
        if not scores:
            return {}
        region, contour = np.mean(scores, axis=0)
        return dict(J=float(region), F=float(contour), JF=float(region + contour) / 2)

    @property
    def _folder(self) -> str:
        return str(self.submission)[: -len('.zip')]

    def _write(self, masks: np.ndarray, sample: dict) -> None:
        folder = osp.join(
            self._folder, 'Annotations', sample['video'], str(sample['expression'])
        )
        os.makedirs(folder, exist_ok=True)
        for frame, mask in zip(sample['frame_names'], masks):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            picture.save(osp.join(folder, f'{frame}.png'))


def pack_submission(folder: str, path: str) -> None:
    """Zip the pictures of a submission, with ``Annotations`` at the top."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for parent, _, names in sorted(os.walk(osp.join(folder, 'Annotations'))):
            for name in sorted(names):
                full = osp.join(parent, name)
                archive.write(full, osp.relpath(full, folder))
