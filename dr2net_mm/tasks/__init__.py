"""One package a task, each with ``models``, ``datasets`` and ``metrics``."""

from . import detection, temporal_detection

__all__ = ['detection', 'temporal_detection']
