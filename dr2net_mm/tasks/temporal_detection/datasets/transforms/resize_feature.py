"""Features of a video at another number of temporal positions."""

from typing import Any, Dict

import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeFeature(BaseTransform):
    """Interpolate the features of a video linearly to a fixed length.

    Positions are those of the centers of equal parts of the video
    (``align_corners=False``), so a fraction of the video stays that fraction.

    Required and modified key: ``raw_feature``, [C, t] -> float32 [C, length], as
    mmaction's ``LoadLocalizationFeature`` gives it.

    Args:
        length: Temporal positions of the result.

    Raises:
        ValueError: If ``length`` is no int of at least 1, or, while loading, features
            have other than two dimensions.
    """

    def __init__(self, length: int) -> None:
        if not isinstance(length, int) or length < 1:
            raise ValueError(f'length is {length!r}; give an int of at least 1')
        self.length = length

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Resize the features of one video."""
        features = torch.as_tensor(results['raw_feature'], dtype=torch.float32)
        if features.dim() != 2 or not features.numel():
            raise ValueError(
                f'features of {results.get("video_name")!r} have the shape '
                f'{list(features.shape)}; expected [channels, positions]'
            )
        resized = F.interpolate(
            features[None], size=self.length, mode='linear', align_corners=False
        )
        results['raw_feature'] = resized[0].numpy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(length={self.length})'
