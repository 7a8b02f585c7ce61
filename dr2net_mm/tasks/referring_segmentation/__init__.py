"""Referring video object segmentation: masks of the object that a sentence names."""

from . import datasets, metrics, models
from .sentence_length_hook import SentenceLengthHook

__all__ = ['SentenceLengthHook', 'datasets', 'metrics', 'models']
