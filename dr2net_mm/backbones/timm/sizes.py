"""Sizes of images that a timm model takes, and what lets it take others."""

import inspect
from typing import Optional, Tuple

from torch import nn

Size = Tuple[int, int]


def check_own_size(model: nn.Module, own: Size, size: Size) -> None:
    """Check that images have the size that a model is built for.

    Args:
        model: The timm model.
        own: The size (H, W) that it is built for.
        size: That of the images.

    Raises:
        ValueError: If they have another one.
    """
    if tuple(size) != own:
        raise ValueError(
            f'{type(model).__name__} is built for images of {own[0]}x{own[1]}, '
            f'got {size[0]}x{size[1]}: {remedy(model, size)}'
        )


def check_patches(
    model: nn.Module, size: Size, patches: Optional[nn.Module] = None
) -> None:
    """Check a size of images against that of a timm ``PatchEmbed``.

    Args:
        model: The timm model.
        size: Height and width.
        patches: The patch embedding; by default ``model.patch_embed``.

    Raises:
        ValueError: If the patches do not fit it.
    """
    patches = patches or getattr(model, 'patch_embed', None)
    own = getattr(patches, 'img_size', None)
    step = getattr(patches, 'patch_size', None)
    if own is None or step is None:
        return
    name = type(model).__name__
    if getattr(patches, 'strict_img_size', False) and tuple(size) != tuple(own):
        raise ValueError(
            f'{name} is built for images of {own[0]}x{own[1]}, got '
            f'{size[0]}x{size[1]}: {remedy(model, size)}'
        )
    padded = getattr(patches, 'dynamic_img_pad', False)
    if not padded and any(length % part for length, part in zip(size, step)):
        raise ValueError(
            f'{name} cuts images into patches of {step[0]}x{step[1]}, got '
            f'{size[0]}x{size[1]}; resize or pad them to a multiple.'
        )


def remedy(model: nn.Module, size: Size) -> str:
    """Which argument of a model lets it take images of another size."""
    known = inspect.signature(type(model).__init__).parameters
    fixed = f'img_size=({size[0]}, {size[1]})'
    for name, value in (('dynamic_img_size', True), ('strict_img_size', False)):
        if name in known:
            return f'pass {name}={value}, or {fixed}.'
    return f'pass {fixed}, or resize them.'
