"""Checkpoints of other projects, renamed for mmaction's classes and ours.

Needs torch only, and MMEngine to write a file. ``tools/model_converters/`` holds the
command lines.
"""

from .conversion import Conversion
from .dinov2_onnx import dinov2_onnx_to_timm, read_onnx_weights
from .mttr import mm_to_mttr, mttr_to_mm, video_swin_to_mttr
from .slowfast_rev import mm_to_slowfast_rev, slowfast_rev_to_mm
from .timm_vit import timm_vit_to_mmaction
from .videomae import mmaction_to_videomae, videomae_to_mmaction

__all__ = [
    'Conversion',
    'dinov2_onnx_to_timm',
    'mm_to_mttr',
    'mm_to_slowfast_rev',
    'mmaction_to_videomae',
    'mttr_to_mm',
    'read_onnx_weights',
    'slowfast_rev_to_mm',
    'timm_vit_to_mmaction',
    'video_swin_to_mttr',
    'videomae_to_mmaction',
]
