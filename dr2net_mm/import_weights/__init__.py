"""Checkpoints of other projects, renamed for mmaction's ``VisionTransformer``.

Needs torch only, and MMEngine to write a file. ``tools/model_converters/`` holds the
command lines.
"""

from .conversion import Conversion
from .timm_vit import timm_vit_to_mmaction
from .videomae import mmaction_to_videomae, videomae_to_mmaction

__all__ = [
    'Conversion',
    'mmaction_to_videomae',
    'timm_vit_to_mmaction',
    'videomae_to_mmaction',
]
