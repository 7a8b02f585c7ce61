"""Training loops."""

from .loops import ResumableEpochLoop, ResumableIterLoop

__all__ = ['ResumableEpochLoop', 'ResumableIterLoop']
