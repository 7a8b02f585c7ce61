"""Transforms of windows of frames with a sentence, in MMEngine's root registry."""

from .flip_with_text import FlipWithText
from .load_a2d_masks import LoadA2DMasks
from .load_frames import LoadFrameFiles, LoadVideoWindow
from .load_jhmdb_mask import LoadJHMDBMask
from .load_palette_masks import LoadPaletteMasks
from .pack_referring_inputs import PackReferringInputs
from .resize_window import ResizeWindow

__all__ = [
    'FlipWithText',
    'LoadA2DMasks',
    'LoadFrameFiles',
    'LoadJHMDBMask',
    'LoadPaletteMasks',
    'LoadVideoWindow',
    'PackReferringInputs',
    'ResizeWindow',
]
