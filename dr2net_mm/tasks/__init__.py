"""One package a task, each with ``models``, ``datasets`` and ``metrics``."""

from . import temporal_detection

__all__ = ['temporal_detection']
