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

from .fit import Comparison, compare, shapes, weights_of
from .refusal import backbone_of, block_of, refusal, trained_names

#: Scheme of a local file of a bare backbone, read as if it were part of a detector.
BARE_SCHEME = 'bare-backbone://'

# The classes whose files are known to hold every tensor but norms behind the blocks:
# ours, and those that ours extend.
_COMPLETE = (
    'DualResidualBackbone',
    'MViT',
    'SwinTransformer',
    'SwinTransformer3D',
    'VisionTransformer',
)

# Classifiers normalize once, behind everything; feature maps have norms of their own.
_OUTPUT_NORM = re.compile(r'^(norm\d*|fc_norm|ln1)\.')


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
        found = seen[-1] if seen else backbone_of(weights_of(read_source(source)))
        check_weights(backbone, found, source)
        # They would fit, were they where the backbone looks for them.
        check_weights(backbone, {}, source)
        raise error
    finally:
        handle.remove()
    check_weights(backbone, seen[-1] if seen else {}, source)


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
        if name in trained_names(backbone)
    }
    result = compare(wanted, found)
    required = Comparison(
        result.matched,
        [name for name in result.missing if not _OUTPUT_NORM.match(name)],
        result.mismatched,
    )
    blocks = set(filter(None, map(block_of, wanted)))
    deeper = [
        name
        for name in shapes(found)
        if block_of(name)
        and block_of(name) not in blocks
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
    path = source[len(BARE_SCHEME) :] if source.startswith(BARE_SCHEME) else source
    raw = weights_of(read_source(path))
    raise UserError(refusal(backbone, required, deeper, path, raw))


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
