"""ActionFormer (ECCV 2022) as an mmaction localizer."""

from .actionformer import ActionFormer
from .decoding import SegmentDecoder

__all__ = ['ActionFormer', 'SegmentDecoder']
