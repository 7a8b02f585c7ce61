"""Names and shapes of every tensor of an MTTR, by our names."""

import re
from typing import Dict, Mapping, Tuple

from torch import Tensor

from .conversion import require

Shapes = Dict[str, Tuple[int, ...]]
NETWORK = 'MTTR'


def mttr_shapes(weights: Mapping[str, Tensor]) -> Shapes:
    """Return the shapes of a whole MTTR, of the weights' own sizes and depths.

    Raises:
        UserError: If a tensor is missing that the sizes are read from.
    """
    queries, channels = require(weights, 'queries.weight', 2).shape
    stages = _count(weights, 'backbone.layers')
    width = require(weights, 'backbone.patch_embed.proj.weight', 5).shape[0]
    kernels = require(weights, 'kernel_head.2.weight', 2).shape[0]
    text_width = require(weights, 'text_projection.0.weight', 2).shape[1]
    shapes: Shapes = {
        'queries.weight': (queries, channels),
        **_linear('text_projection.0', text_width, channels),
        **_norm('text_projection.1', channels),
        **_conv('visual_projection', width << (stages - 1), channels, 1),
        **_linear('referred_head', channels, 2),
        **_linear('kernel_head.0', channels, channels),
        **_linear('kernel_head.2', channels, kernels),
    }
    shapes.update(_under('backbone', video_swin_shapes(_below(weights, 'backbone'))))
    shapes.update(_mask_features(channels, width, kernels))
    shapes.update(_transformer(weights, channels))
    text = _below(weights, 'text_encoder.model')
    shapes.update(_under('text_encoder.model', _roberta(text, text_width)))
    return shapes


def video_swin_shapes(weights: Mapping[str, Tensor], stages: int = 0) -> Shapes:
    """Return the shapes of a Video Swin without output norms, by mmaction's names.

    Args:
        weights: Those of a backbone, without ``backbone.``.
        stages: Number of stages, by default as many as the weights have.
    """
    patches = require(weights, 'patch_embed.proj.weight', 5)
    width = patches.shape[0]
    shapes: Shapes = {
        'patch_embed.proj.weight': tuple(patches.shape),
        'patch_embed.proj.bias': (width,),
        **_norm('patch_embed.norm', width),
    }
    stages = stages or _count(weights, 'layers')
    for stage in range(stages):
        channels = width << stage
        for number in range(_count(weights, f'layers.{stage}.blocks')):
            block = f'layers.{stage}.blocks.{number}'
            table = f'{block}.attn.relative_position_bias_table'
            index = f'{block}.attn.relative_position_index'
            shapes.update(
                {
                    table: tuple(require(weights, table, 2).shape),
                    index: tuple(require(weights, index, 2).shape),
                    **_norm(f'{block}.norm1', channels),
                    **_linear(f'{block}.attn.qkv', channels, 3 * channels),
                    **_linear(f'{block}.attn.proj', channels, channels),
                    **_norm(f'{block}.norm2', channels),
                    **_feed_forward(
                        weights, f'{block}.mlp.fc1', f'{block}.mlp.fc2', channels
                    ),
                }
            )
        if stage < stages - 1:
            merging = f'layers.{stage}.downsample'
            shapes[f'{merging}.reduction.weight'] = (2 * channels, 4 * channels)
            shapes.update(_norm(f'{merging}.norm', 4 * channels))
    return shapes


def _transformer(weights: Mapping[str, Tensor], channels: int) -> Shapes:
    shapes = _norm('transformer.decoder.post_norm', channels)
    for part, attentions in (
        ('encoder', ('self_attn',)),
        ('decoder', ('self_attn', 'cross_attn')),
    ):
        for number in range(_count(weights, f'transformer.{part}.layers')):
            layer = f'transformer.{part}.layers.{number}'
            for name in attentions:
                attention = f'{layer}.{name}.attn'
                shapes[f'{attention}.in_proj_weight'] = (3 * channels, channels)
                shapes[f'{attention}.in_proj_bias'] = (3 * channels,)
                shapes.update(_linear(f'{attention}.out_proj', channels, channels))
            for norm in range(len(attentions) + 1):
                shapes.update(_norm(f'{layer}.norms.{norm}', channels))
            inner, outer = f'{layer}.ffn.layers.0.0', f'{layer}.ffn.layers.1'
            shapes.update(_feed_forward(weights, inner, outer, channels))
    return shapes


def _mask_features(channels: int, width: int, kernels: int) -> Shapes:
    shapes: Shapes = {}
    widths = [channels // divisor for divisor in (1, 1, 2, 4, 8)]
    for number, (before, after) in enumerate(zip(widths, widths[1:])):
        layer = f'mask_features.layers.{number}'
        shapes.update(_conv(f'{layer}.conv', before, after, 3))
        shapes.update(_norm(f'{layer}.gn', after))
    for number, before in enumerate((2 * width, width)):
        lateral = f'mask_features.laterals.{number}'
        shapes.update(_conv(lateral, before, widths[number + 2], 1))
    shapes.update(_conv('mask_features.output', widths[-1], kernels, 3))
    return shapes


def _roberta(weights: Mapping[str, Tensor], width: int) -> Shapes:
    shapes: Shapes = {}
    for name in ('word', 'position', 'token_type'):
        table = f'embeddings.{name}_embeddings.weight'
        shapes[table] = (require(weights, table, 2).shape[0], width)
    shapes.update(_norm('embeddings.LayerNorm', width))
    for number in range(_count(weights, 'encoder.layer')):
        layer = f'encoder.layer.{number}'
        for name in ('query', 'key', 'value'):
            shapes.update(_linear(f'{layer}.attention.self.{name}', width, width))
        shapes.update(_linear(f'{layer}.attention.output.dense', width, width))
        shapes.update(_norm(f'{layer}.attention.output.LayerNorm', width))
        inner, outer = f'{layer}.intermediate.dense', f'{layer}.output.dense'
        shapes.update(_feed_forward(weights, inner, outer, width))
        shapes.update(_norm(f'{layer}.output.LayerNorm', width))
    return shapes


def _linear(name: str, before: int, after: int) -> Shapes:
    return {f'{name}.weight': (after, before), f'{name}.bias': (after,)}


def _norm(name: str, channels: int) -> Shapes:
    return {f'{name}.weight': (channels,), f'{name}.bias': (channels,)}


def _conv(name: str, before: int, after: int, kernel: int) -> Shapes:
    weight = (after, before, kernel, kernel)
    return {f'{name}.weight': weight, f'{name}.bias': (after,)}


def _feed_forward(
    weights: Mapping[str, Tensor], inner: str, outer: str, channels: int
) -> Shapes:
    hidden = require(weights, f'{inner}.bias', 1).shape[0]
    return {**_linear(inner, channels, hidden), **_linear(outer, hidden, channels)}


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    """Count the entries of a list; those between may be missing."""
    pattern = re.compile(rf'{re.escape(prefix)}\.(\d+)\.')
    found = [int(match.group(1)) for match in map(pattern.match, weights) if match]
    return 1 + max(found, default=-1)


def _below(weights: Mapping[str, Tensor], prefix: str) -> Dict[str, Tensor]:
    start = f'{prefix}.'
    return {
        name[len(start) :]: value
        for name, value in weights.items()
        if name.startswith(start)
    }


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {f'{prefix}.{name}': shape for name, shape in shapes.items()}
