"""Temporal action detectors, registered in MMEngine's root registry."""

__all__: list = []
