"""Mirroring frames, masks and the words left and right."""

import re
from typing import Any, Dict

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS

_SWAPPED = {'left': 'right', 'right': 'left'}
_WORDS = re.compile(r'\b(?:left|right)(?=(?:most|ward|wards|hand|-|\b))')


@TRANSFORMS.register_module()
class FlipWithText(BaseTransform):
    """Mirror a window with some probability, and swap left and right in its sentence.

    Whole words are swapped, and the first half of *leftmost*, *rightward* and
    *left-handed*. MTTR's authors replace the letters wherever they stand, also in
    *bright* and *cleft*.

    Required keys: ``frames`` and ``text``; ``masks`` where there are any.

    Args:
        prob: Probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob is {prob}; a probability in [0, 1] is needed')
        self.prob = prob

    @cache_randomness
    def _flips(self) -> bool:
        return np.random.rand() < self.prob

    def transform(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Mirror frames, masks and text, or leave the sample as it is."""
        if self._flips():
            results['frames'] = [frame[:, ::-1] for frame in results['frames']]
            if 'masks' in results:
                results['masks'] = results['masks'][..., ::-1]
            results['text'] = mirrored(results['text'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


def mirrored(text: str) -> str:
    """Return the sentence for the mirrored picture."""
    return _WORDS.sub(lambda match: _SWAPPED[match.group()], text)
