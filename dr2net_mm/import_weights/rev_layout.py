"""Recognition of the Rev-ViT or Rev-MViT that weights belong to."""

import math
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple, Union

import torch
from torch import Tensor

from dr2net_mm.errors import UserError

from .conversion import require

#: Channels of an attention head of every published Rev-ViT.
HEAD_WIDTH = 64


class RevLayout(NamedTuple):
    """Layout of a network as its weights show it.

    Attributes:
        shapes: Shape of every tensor of the network, by name.
        backbone: Arguments of its class that differ from the defaults.
        width: Channels of its output.
    """

    shapes: Dict[str, Tuple[int, ...]]
    backbone: Dict[str, Any]
    width: int


def layout_of(weights: Mapping[str, Tensor]) -> RevLayout:
    """Return the network that backbone weights by our names belong to.

    Raises:
        UserError: If the weights fit no such network.
    """
    pooled = any(name.endswith('.attn.pool_k.weight') for name in weights)
    try:
        return _mvit(weights) if pooled else _vit(weights)
    except ValueError as error:
        raise UserError(
            f'the checkpoint fits no Rev-ViT or Rev-MViT: {error}'
        ) from error


def _vit(weights: Mapping[str, Tensor]) -> RevLayout:
    from dr2net_mm.backbones.rev.rev_vit import REV_VIT_ARCHS, RevVisionTransformer

    patches = require(weights, 'patch_embed.projection.weight', 4)
    width, channels, _, patch = patches.shape
    hidden = require(weights, 'layers.0.ffn.layers.0.0.bias', 1)
    sizes = dict(
        embed_dims=width,
        num_layers=_depth(weights, 'layers'),
        num_heads=max(1, width // HEAD_WIDTH),
    )
    known = [name for name, value in REV_VIT_ARCHS.items() if value == sizes]
    if len(hidden) != 4 * width:
        arch: Union[str, Dict[str, int]] = dict(sizes, feedforward_channels=len(hidden))
    else:
        arch = known[0] if known else sizes
    arguments: Dict[str, Any] = dict(
        arch=arch,
        img_size=_side(require(weights, 'pos_embed', 3)) * patch,
        patch_size=patch,
        in_channels=channels,
        qkv_bias='layers.0.attn.qkv.bias' in weights,
    )
    with torch.device('meta'):
        model = RevVisionTransformer(**arguments)
    return _layout(model, arguments, 2 * width)


def _mvit(weights: Mapping[str, Tensor]) -> RevLayout:
    from dr2net_mm.backbones.rev.rev_mvit import REV_MVIT_ARCHS, RevMViT

    patches = weights['patch_embed.projection.weight']
    videos = patches.dim() == 5
    arch = dict(REV_MVIT_ARCHS['video-base' if videos else 'image-base'])
    published = dict(arch)
    pool = require(weights, 'blocks.0.attn.pool_k.weight', 5)
    downscale = _transitions(weights)
    mixed = any('.fuse.' in name for name in weights)
    arch.update(
        embed_dims=patches.shape[0],
        num_layers=_depth(weights, 'blocks'),
        num_heads=max(1, patches.shape[0] // pool.shape[0]),
        downscale_indices=downscale,
        patch_kernel=tuple(patches.shape[2:]),
        pool_kernel=tuple(pool.shape[2:]),
        qkv_bias='blocks.0.attn.qkv.bias' in weights,
        fuse='concat_mlp' if mixed else 'mean',
    )
    named = arch == published
    name = 'pos_embed_spatial' if videos else 'pos_embed'
    arguments = dict(
        arch=('video-base' if videos else 'image-base') if named else arch,
        img_size=_side(require(weights, name, 3)) * arch['patch_stride'][-1],
        in_channels=patches.shape[1],
    )
    if videos:
        times = require(weights, 'pos_embed_temporal', 3).shape[1]
        arguments['num_frames'] = times * arch['patch_stride'][0]
    with torch.device('meta'):
        model = RevMViT(**arguments)
    return _layout(model, arguments, 2 * model.widths[-1])


def _layout(model: torch.nn.Module, arguments: Dict[str, Any], width: int) -> RevLayout:
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    return RevLayout(shapes, dict(type=type(model).__name__, **arguments), width)


def _depth(weights: Mapping[str, Tensor], blocks: str) -> int:
    found = [re.match(rf'{blocks}\.(\d+)\.', name) for name in weights]
    return 1 + max((int(match.group(1)) for match in found if match), default=0)


def _transitions(weights: Mapping[str, Tensor]) -> Tuple[int, ...]:
    pattern = r'blocks\.(\d+)\.attn\.pool_q\.weight'
    found: List[int] = [
        int(match.group(1))
        for match in (re.fullmatch(pattern, name) for name in weights)
        if match
    ]
    return tuple(sorted(found))


def _side(positions: Tensor) -> int:
    """Return the positions along a side of a square grid.

    Raises:
        UserError: If they do not form a square.
    """
    count = positions.shape[1]
    side = math.isqrt(count)
    if side * side != count:
        raise UserError(
            f'the position embeddings of the checkpoint are {count}, which form no '
            'square; Rev-ViT and Rev-MViT have no class token'
        )
    return side
