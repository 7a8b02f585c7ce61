"""From a config to a running Runner: checks, resuming, process groups."""

from .prepare import prepare_mmengine

__all__ = ['prepare_mmengine']
