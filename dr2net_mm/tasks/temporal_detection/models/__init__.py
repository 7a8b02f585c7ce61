"""Temporal action detectors, registered in MMEngine's root registry."""

from .actionformer import ActionFormer
from .end_to_end import EndToEndLocalizer
from .vsgn import VSGN

__all__ = ['ActionFormer', 'EndToEndLocalizer', 'VSGN']
