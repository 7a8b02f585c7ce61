"""Residual branches of the supported backbones, evaluated piece by piece."""

from .feed_forward import FeedForwardBranch
from .window_attention import WindowAttentionBranch

__all__ = ['FeedForwardBranch', 'WindowAttentionBranch']
