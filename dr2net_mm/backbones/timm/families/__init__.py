"""Families of timm models: how each runs, and the branches of its blocks.

Importing this package fills the registries of blocks and of families.
"""

from . import (  # noqa: F401
    beit,
    bit,
    cait,
    convnext,
    eva,
    focalnet,
    hiera,
    maxvit,
    metaformer,
    mixer,
    mvit,
    pvt,
    swin,
    twins,
    vit,
)
