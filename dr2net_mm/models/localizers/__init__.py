"""Temporal action detectors, registered in MMEngine's root registry."""

from .end_to_end import EndToEndLocalizer

__all__ = ['EndToEndLocalizer']
