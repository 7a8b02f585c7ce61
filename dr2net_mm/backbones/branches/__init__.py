"""Residual branches of the supported backbones, evaluated piece by piece."""

from .attention import AttentionBranch
from .feed_forward import FeedForwardBranch
from .pooling_attention import PoolingAttentionBranch
from .window_attention import WindowAttentionBranch

__all__ = [
    'AttentionBranch',
    'FeedForwardBranch',
    'PoolingAttentionBranch',
    'WindowAttentionBranch',
]
