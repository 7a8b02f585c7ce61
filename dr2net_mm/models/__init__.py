"""Models: backbones, and the residual branches that they are made of."""

from . import backbones, branches

__all__ = ['backbones', 'branches']
