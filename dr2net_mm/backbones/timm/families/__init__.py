"""Families of timm models: how each runs, and the branches of its blocks.

Importing this package fills the registries of blocks and of families.
"""

from . import beit, eva, vit  # noqa: F401
