"""Mask AP, precision at thresholds and IoU of sentences in single frames."""

import contextlib
import io
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmengine.registry import METRICS

from .mask_overlap import overlap_metrics

#: What COCOeval's first six numbers are; −1 where no ground truth has the size.
_AP_NAMES = ('mAP', 'AP50', 'AP75', 'AP_small', 'AP_medium', 'AP_large')


@METRICS.register_module()
class ReferringSegmentationMetric(BaseMetric):
    """The metrics of A2D-Sentences and JHMDB-Sentences.

    ``mAP`` is COCO's mask AP without classes over all predicted masks of a frame, one
    ground truth each; some papers keep one mask a frame, which lowers it. Precision and
    IoU are of the mask with the highest score (the last one of equals). Predictions of
    an image that comes twice, as padding samplers make them, count once.

    Args:
        masks_per_image: How many of the best masks count for AP, by default all.
        collect_device: As in MMEngine.
        prefix: As in MMEngine.

    Source: MTTR, ``metrics.py``; COCO.
    """

    default_prefix = 'rvos'

    def __init__(
        self,
        masks_per_image: Optional[int] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if masks_per_image is not None and masks_per_image < 1:
            raise ValueError(
                f'masks_per_image is {masks_per_image}; give 1 or more, or None for all'
            )
        self.masks_per_image = masks_per_image

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Encode the masks of a batch.

        Args:
            data_batch: Unused.
            data_samples: Samples as dictionaries, with ``image_id``, ``pred_instances``
                and ``truth`` [1, H, W].

        Raises:
            ValueError: If a sample has more than one annotated frame.
        """
        from pycocotools import mask as coco_mask

        for sample in data_samples:
            predicted = sample['pred_instances']
            masks = predicted['masks'].cpu().numpy()
            if masks.shape[1] != 1:
                raise ValueError(
                    f'{sample["image_id"]} has {masks.shape[1]} annotated frames; '
                    'ReferringSegmentationMetric takes one (VideoObjectMetric takes '
                    'videos)'
                )
            truth = _truth(sample)
            scores = predicted['scores'].float().cpu().numpy()[:, 0]
            best = len(scores) - 1 - int(np.argmax(scores[::-1]))
            order = np.argsort(-scores, kind='stable')[: self.masks_per_image]
            encoded = coco_mask.encode(
                np.asfortranarray(masks[order, 0].transpose(1, 2, 0).astype(np.uint8))
            )
            self.results.append(
                dict(
                    image_id=sample['image_id'],
                    size=truth.shape,
                    truth=coco_mask.encode(np.asfortranarray(truth.astype(np.uint8))),
                    masks=encoded,
                    scores=scores[order].tolist(),
                    intersection=int((masks[best, 0] & truth).sum()),
                    union=int((masks[best, 0] | truth).sum()),
                )
            )

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Compute all metrics, in [0, 1]."""
        images = list({result['image_id']: result for result in results}.values())
        metrics = average_precision(images)
        metrics.update(
            overlap_metrics(
                [image['intersection'] for image in images],
                [image['union'] for image in images],
            )
        )
        logger = MMLogger.get_current_instance()
        logger.info(
            f'{len(images)} sentences: '
            + ', '.join(f'{key} {100 * value:.1f}' for key, value in metrics.items())
        )
        return metrics


def _truth(sample: dict) -> np.ndarray:
    """Return the mask of the referred object [H, W]."""
    if sample.get('truth') is None:
        raise ValueError(
            f'{sample["image_id"]} has no mask to compare with; end the pipeline with '
            "dict(type='PackReferringInputs', with_truth=True)"
        )
    return sample['truth'].cpu().numpy().astype(bool)[0]


def average_precision(images: Sequence[dict]) -> Dict[str, float]:
    """Compute COCO's mask AP without classes.

    Args:
        images: With ``size``, ``truth`` and ``masks`` (run-length encoded) and
            ``scores``.
    """
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, predictions, entries = [], [], []
    for number, image in enumerate(images, start=1):
        height, width = image['size']
        entries.append(dict(id=number, height=height, width=width))
        truth.append(
            dict(
                id=number,
                image_id=number,
                category_id=1,
                iscrowd=0,
                segmentation=image['truth'],
                area=int(coco_mask.area(image['truth'])),
                bbox=coco_mask.toBbox(image['truth']).tolist(),
            )
        )
        predictions += [
            dict(image_id=number, category_id=1, segmentation=mask, score=score)
            for mask, score in zip(image['masks'], image['scores'])
        ]
    # pycocotools prints what it does.
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = dict(
            images=entries, annotations=truth, categories=[dict(id=1, name='referred')]
        )
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(predictions), 'segm')
        evaluation.params.useCats = 0
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(_AP_NAMES, map(float, evaluation.stats)))
