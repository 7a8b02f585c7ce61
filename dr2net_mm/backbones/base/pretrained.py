"""No finetuning begins from random weights unnoticed.

MM's backbones load whatever names and shapes agree with the file of ``init_cfg`` or
``pretrained``, and log the rest or fail with an ``IndexError``. The guard looks at what
reaches the backbone, after any conversion, and compares.
"""

import contextlib
import math
import re
from typing import Any, Dict, Iterator, List, Mapping, Optional

import torch
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from dr2net_mm.errors import UserError

from .fit import Comparison, compare, layout, shapes, weights_of

#: Scheme of a local file of a bare backbone, read as if it were part of a detector.
BARE_SCHEME = 'bare-backbone://'

# The classes whose files are known to hold every tensor but norms behind the blocks.
_COMPLETE = ('SwinTransformer', 'SwinTransformer3D', 'VisionTransformer')

# Classifiers normalize once, behind everything; feature maps have norms of their own.
_OUTPUT_NORM = re.compile(r'^(norm\d*|fc_norm)\.')
_BLOCK = re.compile(r'^((stages|layers)\.\d+\.(blocks\.\d+\.)?|blocks\.\d+\.)')


def pretrained_source(backbone: nn.Module) -> Optional[str]:
    """Return the file or URL of a backbone's weights; None for random ones.

    Args:
        backbone: With ``init_cfg`` and, in mmaction's classes, ``pretrained``.
    """
    configs = getattr(backbone, 'init_cfg', None)
    for config in configs if isinstance(configs, (list, tuple)) else [configs]:
        if isinstance(config, Mapping) and 'checkpoint' in config:
            return config['checkpoint']
    source = getattr(backbone, 'pretrained', None)
    return source if isinstance(source, str) and source else None


@contextlib.contextmanager
def guarded_loading(backbone: nn.Module, inflate_input: bool = False) -> Iterator[None]:
    """Let ``init_weights`` of a backbone load its file or raise.

    Args:
        backbone: The backbone.
        inflate_input: Whether weights of the first layer for another number of input
            channels are adapted, see :func:`inflated`.

    Raises:
        UserError: If the file does not give the backbone its weights: what the file
            is, how many tensors fit, the first that does not, and what to do.
    """
    source = pretrained_source(backbone)
    if source is None or getattr(backbone, '_is_init', False):
        # Nothing is loaded; MMEngine passes over a second call.
        yield
        return
    allow_bare_scheme()
    seen: List[Dict[str, Any]] = []

    def look(state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        if inflate_input:
            _inflate_first_layer(backbone, state_dict)
        _leave_out_fixed_tables(backbone, state_dict)
        seen.append(dict(state_dict))

    handle = backbone._register_load_state_dict_pre_hook(look)
    try:
        yield
    except (AssertionError, AttributeError, LookupError, RuntimeError) as error:
        found = seen[-1] if seen else _bare(weights_of(read_source(source)))
        check_weights(backbone, found, source)
        # They would fit, were they where the backbone looks for them.
        check_weights(backbone, {}, source)
        raise error
    finally:
        handle.remove()
    check_weights(backbone, seen[-1] if seen else {}, source)


def _bare(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the backbone of a detector's weights; all of them if there is none."""
    prefix = 'backbone.'
    below = {n[len(prefix) :]: v for n, v in weights.items() if n.startswith(prefix)}
    return below or weights


def _leave_out_fixed_tables(backbone: nn.Module, state_dict: Dict[str, Any]) -> None:
    """Take out tables that a model computes, where they are for another window."""
    own = backbone.state_dict()
    for name in list(state_dict):
        if name.endswith(('relative_position_index', 'attn_mask')):
            if name not in own or own[name].shape != state_dict[name].shape:
                del state_dict[name]


def check_weights(backbone: nn.Module, found: Mapping[str, Any], source: str) -> None:
    """Compare a backbone with the tensors that were to be loaded into it.

    A norm behind the blocks may be missing, and everything that the backbone does not
    have may be left over, but no block of its kind.

    Raises:
        UserError: If the file does not fit.
    """
    wanted = {
        name: value
        for name, value in backbone.state_dict().items()
        # Fixed tables, such as positions that are not learned.
        if name in _trained_names(backbone)
    }
    result = compare(wanted, found)
    required = Comparison(
        result.matched,
        [name for name in result.missing if not _OUTPUT_NORM.match(name)],
        result.mismatched,
    )
    blocks = set(filter(None, map(_block_of, wanted)))
    deeper = [
        name
        for name in shapes(found)
        if _block_of(name)
        and _block_of(name) not in blocks
        and name.split('.')[0] in {block.split('.')[0] for block in blocks}
    ]
    complete = any(cls.__name__ in _COMPLETE for cls in type(backbone).__mro__)
    fits = not (required.missing or required.mismatched or deeper)
    if fits or (not complete and len(result.matched) >= 0.5 * result.total):
        print_log(
            f'{type(backbone).__name__} takes {len(result.matched)} of {result.total} '
            f'tensors from {source}',
            'current',
        )
        return
    raise UserError(_refusal(backbone, required, deeper, source))


def _block_of(name: str) -> str:
    """Prefix of the block that a tensor belongs to; empty outside of blocks."""
    block = _BLOCK.match(name)
    return block.group() if block else ''


def _trained_names(backbone: nn.Module) -> Dict[str, Tensor]:
    running = {n: b for n, b in backbone.named_buffers() if 'running_' in n}
    return {**dict(backbone.named_parameters()), **running}


def _refusal(
    backbone: nn.Module, result: Comparison, deeper: List[str], source: str
) -> str:
    """Describe what is wrong with a file, in one line."""
    raw = weights_of(read_source(source))
    name = type(backbone).__name__
    difference = result.example()
    if not difference:
        difference = f'it also has {deeper[0]}, for which there is no block'
    left = len(result.missing) + len(result.mismatched)
    return (
        f'checkpoint {source!r} does not give {name} its weights: it is {layout(raw)}; '
        f'{len(result.matched)} of {result.total} tensors can be loaded, {left} cannot '
        f'({difference}). {_remedy(backbone, result, deeper, raw)}'
    )


def _remedy(
    backbone: nn.Module, result: Comparison, deeper: List[str], raw: Mapping[str, Any]
) -> str:
    """Name the option or converter that helps."""
    kind, wrong = layout(raw), [name for name, _, _ in result.mismatched]
    foreign = len(result.matched) < 0.5 * result.total
    # mmdet's Swin takes names below backbone. and no others.
    detectors_only = hasattr(backbone, 'convert_weights')
    if not raw:
        return 'Copy or download the file again, or take another one'
    if foreign and detectors_only and is_bare(backbone, raw):
        return f"Give checkpoint='{BARE_SCHEME}PATH', or a Dr2* backbone"
    if _dimensions_differ(backbone, raw):
        return 'Set pretrained2d=True for the Swin of images, False for that of videos'
    if foreign and not detectors_only and not wrong and _bare(raw) is not raw:
        return "Give init_cfg=dict(type='Pretrained', prefix='backbone.', ...)"
    if foreign and is_bare(backbone, raw) and not wrong:
        return (
            'Its weights do not stand at the top or under state_dict: save them there, '
            'or convert it with a tool of tools/model_converters'
        )
    if 'VideoMAE' in kind or ('ViT' in kind and not is_bare(backbone, raw)):
        return (
            'Convert it with tools/model_converters/videomae_to_mmaction.py or '
            'timm_vit_to_mmaction.py'
        )
    if foreign and detectors_only and 'Swin in its authors' in kind:
        return "Set convert_weights=True in the backbone, for its authors' files"
    if _channels_differ(result):
        return (
            'Set in_channels to that of the file, or inflate_input=True in a Dr2* '
            'backbone to adapt the first layer'
        )
    if deeper or (result.missing and not wrong):
        return 'Set depths (depth) to those of the file, or take the file of this depth'
    if wrong and all('bias_table' in name for name in wrong):
        return 'Set num_heads and window_size to those of the file'
    return (
        'Set embed_dims (arch), depths, num_heads and the sizes of patches and windows '
        'to those of the file, or take the file of this backbone'
    )


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


def inflated(weight: Tensor, channels: int) -> Tensor:
    """Adapt the weight of a first layer to another number of channels.

    The channels of the file are repeated in turn and scaled by (old / new), so that an
    input whose channels are alike gives what it gave. One channel takes their sum.

    Args:
        weight: [out, old channels, ...].
        channels: Number of channels wanted.

    Source: timm, ``adapt_input_conv``.
    """
    old = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    turns = math.ceil(channels / old)
    repeated = torch.cat([weight] * turns, dim=1)[:, :channels]
    return repeated * (old / channels)


def _inflate_first_layer(backbone: nn.Module, state_dict: Dict[str, Any]) -> None:
    own = backbone.state_dict()
    for name, value in state_dict.items():
        mine = own.get(name)
        if not name.startswith('patch_embed.') or mine is None or value.dim() < 4:
            continue
        if value.dim() == mine.dim() and value.shape[1] != mine.shape[1]:
            state_dict[name] = inflated(value, mine.shape[1])


def read_source(source: str) -> Any:
    """Read a checkpoint; return an empty dictionary if that fails."""
    try:
        return CheckpointLoader.load_checkpoint(source, 'cpu')
    except (OSError, RuntimeError, ValueError):
        return {}


def _load_bare(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """Load a bare backbone under the names that it has in a detector."""
    path = filename[len(BARE_SCHEME) :]
    weights = weights_of(CheckpointLoader.load_checkpoint(path, map_location))
    return {'state_dict': {f'backbone.{key}': value for key, value in weights.items()}}


def allow_bare_scheme() -> None:
    """Let MMEngine's loaders of this process take addresses of ``BARE_SCHEME``."""
    CheckpointLoader.register_scheme(BARE_SCHEME, loader=_load_bare, force=True)


def is_bare(backbone: nn.Module, raw: Mapping[str, Any]) -> bool:
    """Return whether weights are a bare backbone under its own names."""
    prefixed = any(name.startswith('backbone.') for name in raw)
    own = any(name in raw for name in _trained_names(backbone) if '.attn.' in name)
    return own and not prefixed
