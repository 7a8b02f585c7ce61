"""Why a file does not give a backbone its weights, and what helps, in one line."""

import re
from typing import Any, Dict, Mapping, Sequence

from torch import Tensor, nn

from .fit import Comparison, compare, layout

_BLOCK = re.compile(r'^((stages|layers)\.\d+\.(blocks\.\d+\.)?|blocks\.\d+\.)')
# How many names a message gives.
_SHOWN = 3


def trained_names(backbone: nn.Module) -> Dict[str, Tensor]:
    """Return parameters and running statistics, without fixed tables, by name."""
    running = {n: b for n, b in backbone.named_buffers() if 'running_' in n}
    return {**dict(backbone.named_parameters()), **running}


def backbone_of(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the backbone of a detector's weights; all of them if there is none."""
    prefix = 'backbone.'
    below = {n[len(prefix) :]: v for n, v in weights.items() if n.startswith(prefix)}
    return below or weights


def block_of(name: str) -> str:
    """Return the prefix of a tensor's block; empty outside of blocks."""
    block = _BLOCK.match(name)
    return block.group() if block else ''


def is_bare(backbone: nn.Module, raw: Mapping[str, Any]) -> bool:
    """Return whether weights are a bare backbone under its own names."""
    prefixed = any(name.startswith('backbone.') for name in raw)
    own = any(name in raw for name in trained_names(backbone) if '.attn.' in name)
    return own and not prefixed


def refusal(
    backbone: nn.Module,
    result: Comparison,
    deeper: Sequence[str],
    path: str,
    raw: Mapping[str, Any],
) -> str:
    """Describe what is wrong with a file: what it is, what fits, what helps.

    Args:
        backbone: What the weights were for.
        result: Its tensors beside those that reached it.
        deeper: Names in the file of blocks that the backbone does not have.
        path: The file.
        raw: Its tensors.
    """
    left = len(result.missing) + len(result.mismatched)
    remedy = _remedy(backbone, result, deeper, raw)
    if left:
        difference = _listed(result)
    else:
        difference = f'it also has {deeper[0]}, for which there is no block'
    return (
        f'checkpoint {path!r} does not give {type(backbone).__name__} its weights: it '
        f'is {layout(raw)}; {len(result.matched)} of {result.total} tensors can be '
        f'loaded, {left} cannot ({difference}). {remedy}'
    )


def _listed(result: Comparison) -> str:
    """Name the first tensors that cannot be loaded."""
    names = [name for name, _, _ in result.mismatched[1:]] + result.missing
    names = names if result.mismatched else names[1:]
    shown = names[: _SHOWN - 1]
    rest = len(names) - len(shown)
    more = f', {rest} more' if rest else ''
    return result.example() + ''.join(f'; {name}' for name in shown) + more


def _remedy(
    backbone: nn.Module,
    result: Comparison,
    deeper: Sequence[str],
    raw: Mapping[str, Any],
) -> str:
    """Name the option or converter that helps."""
    kind, wrong = layout(raw), [name for name, _, _ in result.mismatched]
    foreign = len(result.matched) < 0.5 * result.total
    # mmdet's Swin takes names below backbone. and no others.
    detectors_only = hasattr(backbone, 'convert_weights')
    bare = is_bare(backbone, raw)
    if not raw:
        return 'Copy or download the file again, or take another one'
    if foreign and detectors_only and bare and not wrong:
        return "Give checkpoint='bare-backbone://PATH', or a Dr2* backbone"
    if _dimensions_differ(backbone, raw) or (foreign and _is_whole(backbone, raw)):
        if hasattr(backbone, 'pretrained2d'):
            return (
                'Set pretrained2d=True for the Swin of images, False for that of videos'
            )
    if foreign and not detectors_only and not wrong and backbone_of(raw) is not raw:
        return "Give init_cfg=dict(type='Pretrained', prefix='backbone.', ...)"
    if foreign and bare and not wrong:
        return (
            'Its weights do not stand at the top or under state_dict: save them there, '
            'or convert it with a tool of tools/model_converters'
        )
    if 'VideoMAE' in kind or ('ViT' in kind and not bare):
        return (
            'Convert it with tools/model_converters/videomae_to_mmaction.py or '
            'timm_vit_to_mmaction.py'
        )
    if foreign and detectors_only and 'Swin in its authors' in kind:
        return "Set convert_weights=True in the backbone, for its authors' files"
    if foreign and not wrong:
        return (
            f'Take a file of {type(backbone).__name__}, or convert it with a tool of '
            'tools/model_converters'
        )
    if _channels_differ(result):
        return (
            'Set in_channels to that of the file, or inflate_input=True in a Dr2* or '
            'Rev* backbone to adapt the first layer'
        )
    if deeper or (result.missing and not wrong):
        return _remedy_of_missing(result, deeper)
    if wrong and all('bias_table' in name for name in wrong):
        return 'Set num_heads and window_size to those of the file'
    if wrong and all(re.search(r'pos_embed|rel_pos', name) for name in wrong):
        return (
            'Set the size of images (img_size, spatial_size) and the number of frames '
            '(num_frames, temporal_size) to those of the file'
        )
    return (
        'Set embed_dims (arch), depths, num_heads and the sizes of patches and windows '
        'to those of the file, or take the file of this backbone'
    )


def _remedy_of_missing(result: Comparison, deeper: Sequence[str]) -> str:
    found = set(map(block_of, result.matched))
    if not deeper and any(block_of(name) in found for name in result.missing):
        return 'The file is incomplete: download it, or save the whole backbone, again'
    return (
        'Set depths (depth, num_layers) to those of the file, or take the file of this '
        'depth'
    )


def _is_whole(backbone: nn.Module, raw: Mapping[str, Any]) -> bool:
    """Return whether the file itself, unconverted, fits the backbone."""
    wanted = {n: v for n, v in backbone.state_dict().items() if n in raw}
    result = compare(wanted, raw)
    return not result.mismatched and result.total >= 0.9 * len(trained_names(backbone))


def _dimensions_differ(backbone: nn.Module, raw: Mapping[str, Any]) -> bool:
    own = backbone.state_dict()
    return any(name in own and own[name].dim() != raw[name].dim() for name in raw)


def _channels_differ(result: Comparison) -> bool:
    return any(
        'patch_embed' in name
        and len(found) == len(wanted) > 2
        and found[1] != wanted[1]
        and found[:1] + found[2:] == wanted[:1] + wanted[2:]
        for name, found, wanted in result.mismatched
    )
