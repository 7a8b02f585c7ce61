"""Segmentation of whole clouds from predictions for spheres of them."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmengine import dist
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import UserError
from dr2net_mm.tasks.point_segmentation.datasets.cloud import (
    SampledCloud,
    nearest,
    search_tree,
)

from .confusion import SegmentationScores, confusion_matrix, scores_of, table_of


@METRICS.register_module()
class PointIoUMetric(BaseMetric):
    """mIoU, mAcc and OA of clouds, in percent.

    Logits of the spheres are averaged for every point of the subsampled cloud. Every
    point of the whole cloud takes the class of the nearest one of those, and one
    confusion matrix is made of all of them. Points that no sphere has covered take the
    class of the nearest covered one; upstream gives them class 0.

    The clouds are those of the data set (``test_mode=True``), which MMEngine's loops
    hand on.

    Args:
        predictions: Folder to write the class of every point to, ``<cloud>.npz`` with
            ``predicted`` uint8 [n]; None writes nothing.
        prefix: As in MMEngine's ``BaseMetric``.

    Raises:
        UserError: If the data set keeps no clouds, or no sphere of one was predicted.

    Source: ``validate_sphere`` of openpoints.
    """

    def __init__(
        self, predictions: Optional[str] = None, prefix: Optional[str] = None
    ) -> None:
        super().__init__(collect_device='cpu', prefix=prefix)
        self.predictions = predictions
        self._sums: Dict[int, Tensor] = {}
        self._counts: Dict[int, Tensor] = {}

    @property
    def clouds(self) -> Sequence[SampledCloud]:
        """The clouds of the data set."""
        clouds = (self.dataset_meta or {}).get('clouds')
        if clouds is None:
            raise UserError(
                'PointIoUMetric evaluates on whole clouds, which the data set does not '
                'keep; set test_mode=True in the data set of val_dataloader and '
                'test_dataloader'
            )
        return clouds

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""
        return (self.dataset_meta or {})['classes']

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add the logits of a batch up.

        Args:
            data_batch: Not used.
            data_samples: Predictions, with ``logits``, ``indices``, ``valid`` and
                ``cloud``.
        """
        for sample in data_samples:
            cloud, valid = int(sample['cloud']), sample['valid'].cpu()
            logits = sample['logits'].detach().float().cpu()[valid]
            indices = sample['indices'].cpu()[valid]
            if cloud not in self._sums:
                points = len(self.clouds[cloud])
                self._sums[cloud] = torch.zeros(points, logits.shape[1])
                self._counts[cloud] = torch.zeros(points)
            self._sums[cloud].index_add_(0, indices, logits)
            self._counts[cloud].index_add_(0, indices, torch.ones(len(indices)))

    def evaluate(self, size: int) -> Dict[str, float]:
        """Evaluate the spheres of all processes.

        Args:
            size: Length of the data set; not used.
        """
        sums: List[Tensor] = []
        for number, cloud in enumerate(self.clouds):
            shape = (len(cloud), len(self.classes))
            total = self._sums.get(number, torch.zeros(shape))
            count = self._counts.get(number, torch.zeros(len(cloud)))
            for tensor in (total, count):
                dist.all_reduce(tensor)
            sums.append(total / count.clamp(min=1).unsqueeze(1))
            self._counts[number] = count
        metrics: List[Optional[Dict[str, float]]] = [None]
        if dist.is_main_process():
            counts = [self._counts[number] for number in range(len(sums))]
            found = self.compute_metrics(list(zip(sums, counts)))
            prefix = f'{self.prefix}/' if self.prefix else ''
            metrics = [{prefix + name: value for name, value in found.items()}]
        dist.broadcast_object_list(metrics)
        self._sums.clear()
        self._counts.clear()
        return metrics[0] or {}

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Scores of the clouds.

        Args:
            results: Mean logits [m, classes] and number of spheres [m] of the points of
                each cloud.
        """
        classes = len(self.classes)
        confusion = np.zeros((classes, classes), dtype=np.int64)
        for cloud, (logits, counts) in zip(self.clouds, results):
            predicted = self._predicted(cloud, logits.numpy(), counts.numpy())
            whole = predicted[cloud.projection]
            assert cloud.whole is not None
            confusion += confusion_matrix(cloud.whole.labels, whole, classes)
            self._write(cloud.name, whole)
        scores = scores_of(confusion)
        self._log(scores)
        return dict(
            mIoU=scores.mean_iou, mAcc=scores.mean_accuracy, OA=scores.overall_accuracy
        )

    def _predicted(
        self, cloud: SampledCloud, logits: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        """Classes of the points of a subsampled cloud, uint8 [m]."""
        covered = counts > 0
        if not covered.any():
            raise UserError(
                f'no sphere of {cloud.name} was predicted; set spheres_per_epoch of '
                'the data set to more than its number of clouds'
            )
        predicted = logits.argmax(axis=1).astype(np.uint8)
        missing = np.flatnonzero(~covered)
        if len(missing):
            share = 100 * len(missing) / len(covered)
            print_log(
                f'{cloud.name}: {share:.2f} % of its points lie in no sphere and take '
                'the class of the nearest that does; more spheres_per_epoch cover more',
                'current',
            )
            places = cloud.positions[covered]
            near = nearest(search_tree(places), cloud.positions[missing])
            predicted[missing] = predicted[covered][near]
        return predicted

    def _log(self, scores: SegmentationScores) -> None:
        said = f'\n{table_of(scores, self.classes)}'
        if scores.absent:
            names = ', '.join(self.classes[number] for number in scores.absent)
            said += f'\nleft out of the means, without a labeled point: {names}'
        print_log(said, 'current')

    def _write(self, name: str, predicted: np.ndarray) -> None:
        if self.predictions is None:
            return
        with atomic_open(Path(self.predictions) / f'{name}.npz') as file:
            np.savez_compressed(file, predicted=predicted)
