"""RandAugment of whole clips."""

import random
from typing import Any, Dict, List

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image

_EXAMPLE = 'rand-m7-n4-mstd0.5-inc1'
_INTERPOLATIONS = ('bilinear', 'bicubic', 'nearest')


@TRANSFORMS.register_module()
class ClipRandAugment(BaseTransform):
    """timm's RandAugment, the same for every frame of a clip.

    The operations work on images; each frame starts from the same random state, so
    all get the same operations with the same magnitudes.

    Required keys: ``imgs``, RGB frames [H, W, 3] of uint8. Modified keys: ``imgs``.

    Args:
        policy: timm's name of a policy, e.g. ``'rand-m7-n4-mstd0.5-inc1'``: magnitude
            7 of 10 with a standard deviation of 0.5, four operations, of the set
            whose strength grows with the magnitude.
        interpolation: ``'bilinear'``, ``'bicubic'`` or ``'nearest'``, of operations
            that move pixels.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If the policy or the interpolation is unknown; later, if frames
            are not RGB images.

    Source: RandAugment (CVPR 2020 workshops); timm ``data/auto_augment.py``; the
    finetuning of VideoMAE.
    """

    def __init__(self, policy: str = _EXAMPLE, interpolation: str = 'bicubic') -> None:
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(
                f'interpolation of ClipRandAugment is {interpolation!r}; choose one of '
                f'{", ".join(_INTERPOLATIONS)}'
            )
        self.policy = policy
        self.interpolation = interpolation
        self._augment = _timm_augmentation(policy, interpolation)

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Augment the frames of a sample."""
        frames = results['imgs']
        _check_frames(frames)
        python_state, numpy_state = random.getstate(), np.random.get_state()
        augmented = []
        for frame in frames:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            # A copy: what numpy sees of an image cannot be written to.
            augmented.append(np.array(self._augment(Image.fromarray(frame))))
        results['imgs'] = augmented
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(policy={self.policy!r}, '
            f'interpolation={self.interpolation!r})'
        )


def _timm_augmentation(policy: str, interpolation: str) -> Any:
    """Build timm's transform of an image."""
    try:
        from timm.data.auto_augment import rand_augment_transform
    except ImportError as error:
        raise ImportError(
            f'ClipRandAugment takes its operations from timm, which cannot be imported '
            f'({error}): pip install timm torchvision'
        ) from error
    options = dict(interpolation=getattr(Image, interpolation.upper()))
    try:
        return rand_augment_transform(policy, options)
    # timm states an unknown policy by an assertion.
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f'policy of ClipRandAugment is {policy!r}, which timm does not understand '
            f'({str(error) or "it must begin with rand-"}); an example is {_EXAMPLE!r}'
        ) from error


def _check_frames(frames: List[np.ndarray]) -> None:
    for frame in frames[:1]:
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
            raise ValueError(
                f'ClipRandAugment takes RGB frames [H, W, 3] of uint8, got '
                f'{frame.shape} of {frame.dtype}; put it right after DecordDecode'
            )
