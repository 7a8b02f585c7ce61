"""Mean average precision of temporal action detection."""

import json
import logging
from collections import defaultdict
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    load_video_names,
    summarize,
)

from .classifier_scores import ClassifierScores
from .detection_ap import average_precisions
from .detection_truth import ANY_CLASS, DetectionTruth
from .proposals import Proposals, named, read_proposals

ACTIVITYNET_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
THUMOS_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)


@METRICS.register_module()
class ANetDetectionMetric(BaseMetric):
    """mAP over temporal IoU thresholds, as ActivityNet's evaluation computes it.

    AP (:mod:`.detection_ap`) is averaged over the classes that the subset has, a class
    without a prediction counting 0, and then over the thresholds. Values are fractions:
    ``average_mAP``, which comes first and so is what
    ``CheckpointHook(save_best='auto')`` follows, and ``mAP@0.50`` ... for each
    threshold.

    A model returns ``dict(video_name=str, proposal_list=[dict(score=float,
    segment=[start, end] in seconds, label=str)])`` for each video, as mmaction's
    localizers do; ``video_name`` may begin with ActivityNet's ``v_``. Proposals that
    have labels are evaluated as they are. Those that have none take the best classes
    of their video from ``classifier_scores``, or are evaluated without classes.

    Annotated videos of the subset for which nothing was predicted count as misses and
    are reported. A video that a distributed sampler gave out twice counts once.

    Args:
        ann_file: Annotations, in the format of ActivityNet-v1.3 or of mmaction's
            feature data sets.
        subset: Subset of ``ann_file`` to evaluate on.
        blocked_videos: Videos to leave out of annotations and predictions: names, or
            a file with them (a JSON list, or one a line).
        tiou_thresholds: Temporal IoU thresholds, in (0, 1].
        classifier_scores: JSON file of video-level class scores: ``{"class": [names],
            "results": {video id: [scores]}}``, such as those that published TAD
            results on ActivityNet use.
        classifier_top_k: How many classes of a video each proposal is given. The
            score of each is that of the proposal times that of the class.
        class_agnostic: Whether to evaluate everything as one class.
        remove_duplicates: Whether an annotation that repeats segment and class of
            another in its video is left out, as ActionFormer and OpenTAD do and
            ActivityNet's own code does not.
        outfile_prefix: Writes ``<prefix>.json``, a submission to ActivityNet.
        format_only: Only write that file, for a subset without annotations.
        collect_device: As in MMEngine's ``BaseMetric``.
        prefix: As in MMEngine's ``BaseMetric``.

    Raises:
        DataFileError: If a file is missing or malformed.
        ValueError: If an argument is outside its range.
        UserError: While evaluating, if predictions do not fit the annotations.

    Source: ``Evaluation/eval_detection.py`` of activitynet/ActivityNet.
    """

    def __init__(
        self,
        ann_file: str,
        subset: str = 'validation',
        blocked_videos: Union[str, Sequence[str], None] = None,
        tiou_thresholds: Sequence[float] = ACTIVITYNET_THRESHOLDS,
        classifier_scores: Optional[str] = None,
        classifier_top_k: int = 2,
        class_agnostic: bool = False,
        remove_duplicates: bool = False,
        outfile_prefix: Optional[str] = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.tiou_thresholds = [float(threshold) for threshold in tiou_thresholds]
        if not self.tiou_thresholds or not all(
            0 < threshold <= 1 for threshold in self.tiou_thresholds
        ):
            raise ValueError(
                f'tiou_thresholds is {list(tiou_thresholds)}; give numbers above 0 and '
                'up to 1'
            )
        if class_agnostic and classifier_scores is not None:
            raise ValueError(
                'class_agnostic=True leaves out classes, but classifier_scores '
                f'{classifier_scores!r} are given; choose one of the two'
            )
        if format_only and outfile_prefix is None:
            raise ValueError('format_only=True needs outfile_prefix to write to')
        self.class_agnostic = class_agnostic
        self.outfile_prefix = outfile_prefix
        self.format_only = format_only
        self.classifier = None
        if classifier_scores is not None:
            self.classifier = ClassifierScores(classifier_scores, classifier_top_k)
        self.truth = DetectionTruth(
            ann_file,
            subset,
            load_video_names(blocked_videos),
            class_agnostic,
            remove_duplicates,
        )
        if not self.truth.by_label and not format_only:
            raise DataFileError(
                f'{ann_file}: the subset {subset!r} has no annotations to evaluate '
                'against; set format_only=True to write predictions only'
            )

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the proposals of a batch.

        Args:
            data_batch: Not used.
            data_samples: What the model's ``predict`` returned.
        """
        for sample in data_samples:
            self.results.append((str(sample['video_name']), *read_proposals(sample)))

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Evaluate the proposals of all videos."""
        detections = self._labeled(self._by_video(results))
        if self.outfile_prefix is not None:
            self._write(detections)
        if self.format_only:
            return {}
        self._report_oddities(detections)
        precisions = self._average_precisions(detections)
        per_threshold = precisions.mean(axis=0)
        metrics = {'average_mAP': float(per_threshold.mean())}
        for threshold, value in zip(self.tiou_thresholds, per_threshold):
            metrics[f'mAP@{_two_decimals(threshold)}'] = float(value)
        self._log_table(metrics, len(precisions))
        return metrics

    def _by_video(self, results: List[tuple]) -> Dict[str, Proposals]:
        """Return the proposals of each video of the subset, once."""
        proposals: Dict[str, Proposals] = {}
        for name, *found in results:
            video_id = self.truth.video_id(name)
            if video_id:
                proposals.setdefault(video_id, Proposals(*found))
        if not proposals:
            raise UserError(
                f'no video of the subset {self.truth.subset!r} has predictions; check '
                'the data set that is evaluated'
            )
        return proposals

    def _labeled(self, proposals: Dict[str, Proposals]) -> Dict[str, Proposals]:
        """Give each proposal a class; several where it had none."""
        labeled = {}
        for video, found in proposals.items():
            if self.class_agnostic:
                labeled[video] = named(found, ANY_CLASS)
                continue
            nameless = found.labels == None  # noqa: E711 (element by element)
            if not nameless.any():
                labeled[video] = found
                continue
            if self.classifier is None:
                raise UserError(
                    f'the proposals of video {video!r} have no classes; give '
                    'classifier_scores (a file of video-level class scores), a '
                    'localizer with classes, or class_agnostic=True for mAP without '
                    'classes'
                )
            parts = [Proposals(*(field[~nameless] for field in found))]
            rest = Proposals(*(field[nameless] for field in found))
            for label, weight in self.classifier.best(video):
                parts.append(named(rest._replace(scores=rest.scores * weight), label))
            labeled[video] = Proposals(*map(np.concatenate, zip(*parts)))
        return labeled

    def _average_precisions(self, proposals: Dict[str, Proposals]) -> np.ndarray:
        """Compute the AP of each class of the subset, [classes, thresholds]."""
        videos: Dict[str, List[str]] = defaultdict(list)
        for video in sorted(proposals):
            for label in set(proposals[video].labels):
                videos[label].append(video)
        unknown = sorted(set(videos) - (self.truth.labels or set(videos)))
        if unknown:
            raise UserError(
                f'predictions have classes that {self.truth.ann_file} has nowhere: '
                f'{summarize(unknown)}; check the classes of the model or of '
                'classifier_scores'
            )
        unused = sorted(set(videos) - set(self.truth.by_label))
        if unused:
            _warn(
                f'the subset {self.truth.subset!r} does not have {len(unused)} of the '
                f'predicted classes, which are not evaluated: {summarize(unused)}'
            )
        rows = []
        for label, truth in sorted(self.truth.by_label.items()):
            found = {v: proposals[v].of_class(label) for v in videos[label]}
            rows.append(average_precisions(found, truth, self.tiou_thresholds))
        return np.stack(rows)

    def _report_oddities(self, proposals: Dict[str, Proposals]) -> None:
        annotated = self.truth.annotated
        missed = sorted(annotated - set(proposals))
        if missed:
            _warn(
                f'{len(missed)} of {len(annotated)} annotated videos of the subset '
                f'{self.truth.subset!r} have no predictions and count as missed: '
                f'{summarize(missed)}. If their files are not to be had, list them in '
                'blocked_videos and say so beside the result.'
            )
        segments = np.concatenate([found.segments for found in proposals.values()])
        reversed_ones = int((segments[:, 0] >= segments[:, 1]).sum())
        if reversed_ones:
            _warn(
                f'{reversed_ones} predicted segments do not end after they start and '
                'count as false positives'
            )

    def _write(self, proposals: Dict[str, Proposals]) -> None:
        """Write predictions as ActivityNet's server takes them."""
        results = {
            video: [
                dict(label=label, score=score, segment=segment)
                for score, segment, label in sorted(
                    zip(found.scores.tolist(), found.segments.tolist(), found.labels),
                    key=lambda p: -p[0],
                )
            ]
            for video, found in sorted(proposals.items())
        }
        content = dict(version='VERSION 1.3', results=results, external_data={})
        path = f'{self.outfile_prefix}.json'
        with atomic_open(path, 'w', 'utf-8') as file:
            # json.dump encodes in Python, ten times slower.
            file.write(json.dumps(content))
        print_log(f'predictions of {len(results)} videos: {path}', logger='current')

    def _log_table(self, metrics: Dict[str, float], classes: int) -> None:
        counted = 'no classes' if self.class_agnostic else f'{classes} classes'
        lines = [
            f'temporal action detection on {self.truth.subset!r} '
            f'({len(self.truth.videos)} videos, {counted})'
        ]
        lines += [f'{name:>12} {100 * value:7.2f} %' for name, value in metrics.items()]
        print_log('\n'.join(lines), logger='current')


def _two_decimals(threshold: float) -> str:
    """Format a number with two decimals, or more where two do not tell it."""
    return max(f'{threshold:.2f}', f'{threshold:g}', key=len)


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
