"""Image ViTs of timm, inflated over time for mmaction's ``VisionTransformer``."""

import math
import re
from typing import List, Mapping, Optional

import torch.nn.functional as F
from torch import Tensor

from dr2net_mm.errors import UserError

from .conversion import (
    Conversion,
    Weights,
    as_recognizer,
    check_final_norm,
    check_layout,
    drop,
    fitting_backbone,
    place_final_norm,
    require,
    strip_prefix,
)
from .vit_layout import FC_NORM, PATCH_WEIGHT, VitLayout, sincos_positions

POSITIONS = ('tile', 'sincos')

_RENAMED = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'\.mlp\.fc1\.', '.mlp.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.mlp.layers.1.'),
    (r'\.ls1\.gamma$', '.gamma_1'),
    (r'\.ls2\.gamma$', '.gamma_2'),
)
_EXTRA_TOKENS = ('cls_token', 'reg_token')


def timm_vit_to_mmaction(
    weights: Mapping[str, Tensor],
    img_size: int = 224,
    num_frames: int = 16,
    tubelet_size: int = 2,
    positions: str = 'tile',
    final_norm: Optional[str] = None,
    backbone_only: bool = False,
) -> Conversion:
    """Inflate a timm ``VisionTransformer`` for images into a video backbone.

    A patch embedding of an image becomes that of ``tubelet_size`` frames, each with an
    equal share of the weights, so that a clip of one repeated image gives the image's
    tokens. Class and register tokens are dropped: mmaction's backbone takes the mean.

    Args:
        weights: Tensors by timm's names.
        img_size: Height and width of a frame in pixels. Position embeddings of another
            size are interpolated.
        num_frames: Frames of a clip.
        tubelet_size: Frames of a patch.
        positions: ``'tile'``: timm's embedding at every time; ``'sincos'``: mmaction's
            sine and cosine table.
        final_norm: ``'fc_norm'``, ``'norm'`` or ``'fresh'``, see
            :func:`~dr2net_mm.import_weights.conversion.place_final_norm`. By default
            ``fc_norm`` of a mean-pooled model stays and that of any other is fresh.
        backbone_only: Leave out the prefix ``backbone.``.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape.

    Source: timm, ``models/vision_transformer.py``; inflation as in I3D (CVPR 2017).
    """
    check_final_norm(final_norm)
    _check_arguments(tubelet_size, positions)
    notes: List[str] = []
    found = strip_prefix(dict(weights), 'module.')
    tokens = sum(found[name].shape[1] for name in _EXTRA_TOKENS if name in found)
    found = drop(found, _EXTRA_TOKENS, 'mmaction pools the patch tokens', notes)
    found = drop(found, ('head.',), 'a classifier of images', notes)
    image_positions = found.pop('pos_embed', None)
    backbone = {_rename(name): value for name, value in found.items()}
    patches = require(backbone, PATCH_WEIGHT, 4)
    backbone[PATCH_WEIGHT] = inflate(patches, tubelet_size)
    _split_qkv_biases(backbone, notes)
    layout = VitLayout.of(backbone)
    if final_norm is None and f'{FC_NORM}.weight' not in backbone:
        final_norm = 'fresh'
    placed = place_final_norm(backbone, final_norm, layout.embed_dims, notes)
    times, side = layout.positions(img_size, num_frames)
    count = times * side * side
    if positions == 'sincos' or image_positions is None:
        backbone['pos_embed'] = sincos_positions(count, layout.embed_dims)
        lost = ' instead of those of the checkpoint' if positions == 'sincos' else ''
        notes.append(f'sine and cosine positions{lost}')
        learned = {}
    else:
        spatial = spatial_positions(image_positions, tokens, side, notes)
        backbone['pos_embed'] = spatial.repeat(1, times, 1)
        notes.append(f'pos_embed is the same at each of {times} times')
        learned = dict(use_learnable_pos_emb=True)
    check_layout(backbone, layout.shapes(count, placed))
    return Conversion(
        as_recognizer(backbone, {}, backbone_only),
        fitting_backbone(
            layout, placed, img_size=img_size, num_frames=num_frames, **learned
        ),
        notes,
    )


def inflate(weight: Tensor, frames: int) -> Tensor:
    """Patch weights [C, 3, P, P] of an image as [C, 3, frames, P, P] of a tubelet."""
    return weight.unsqueeze(2).repeat(1, 1, frames, 1, 1) / frames


def spatial_positions(
    positions: Tensor, extra_tokens: int, side: int, notes: List[str]
) -> Tensor:
    """Return the position embeddings of the patches, [1, side * side, C].

    Args:
        positions: timm's [1, N, C], with or without those of the extra tokens.
        extra_tokens: Class and register tokens of the model.
        side: Patches along a side of a frame.
        notes: Extended if the embedding is interpolated.

    Raises:
        UserError: If the patches do not form a square.
    """
    count = positions.shape[1]
    for extra in (extra_tokens, 0):
        size = math.isqrt(max(count - extra, 0))
        if size and size * size == count - extra:
            break
    else:
        raise UserError(
            f'pos_embed of the checkpoint has {count} positions, of which '
            f'{extra_tokens} may be class or register tokens; the others do not form '
            'a square'
        )
    patches = positions[:, extra:]
    if size == side:
        return patches
    notes.append(f'pos_embed is interpolated from {size} x {size} to {side} x {side}')
    grid = patches.float().reshape(1, size, size, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(
        grid, (side, side), mode='bicubic', align_corners=False, antialias=True
    )
    return grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)


def _split_qkv_biases(backbone: Weights, notes: List[str]) -> None:
    """Replace each ``qkv.bias`` by ``q_bias`` and ``v_bias``, in place.

    A key bias b adds q·b to every logit of the query q, which the softmax cancels.
    """
    largest = 0.0
    for name in [key for key in backbone if key.endswith('.attn.qkv.bias')]:
        bias = backbone.pop(name)
        if bias.dim() != 1 or len(bias) % 3:
            raise UserError(f'{name} is {tuple(bias.shape)}; 3 x channels are needed')
        q, k, v = bias.chunk(3)
        stem = name[: -len('qkv.bias')]
        # Not views: a file would hold the whole bias for each.
        backbone[f'{stem}q_bias'], backbone[f'{stem}v_bias'] = q.clone(), v.clone()
        largest = max(largest, float(k.abs().max()))
    if largest > 0:
        notes.append(
            f'DROPPED NON-ZERO KEY BIASES (up to {largest:.3g}), which mmaction has '
            'no parameter for: each adds the same number to all logits of a query, '
            'so no attention weight changes'
        )


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _check_arguments(tubelet_size: int, positions: str) -> None:
    if tubelet_size < 1:
        raise UserError(f'tubelet size {tubelet_size}; it must be at least 1 frame')
    if positions not in POSITIONS:
        raise UserError(
            f'positions {positions!r} are unknown; choose one of {", ".join(POSITIONS)}'
        )
