"""Models: backbones, the residual branches that they are made of, and localizers."""

from . import backbones, branches, localizers

__all__ = ['backbones', 'branches', 'localizers']
