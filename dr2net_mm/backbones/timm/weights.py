"""Weights of timm models from files and addresses."""

import inspect
import re
import sys
from pathlib import Path
from typing import Dict, List, Set

from mmengine.logging import print_log
from timm.models._helpers import load_state_dict
from timm.models._hub import download_cached_file
from torch import Tensor, nn

from dr2net_mm.backbones.base.pretrained import inflated

#: How many names a message gives.
_SHOWN = 3


def load_weights(
    backbone: nn.Module,
    model: nn.Module,
    source: str,
    known: Set[str],
    inflate_input: bool = False,
) -> None:
    """Load a checkpoint of timm, or of its model's authors, into a backbone.

    The names and shapes are adapted by the ``checkpoint_filter_fn`` of the model's file
    in timm: position embeddings are resized, old names replaced. A checkpoint of a
    detector or recognizer with this backbone can be given too.

    Args:
        backbone: What the weights go into; it has timm's names.
        model: The timm model, for its filter.
        source: A file (pth, safetensors) or an address (https://...).
        known: Names of all weights of timm's whole model, the head among them.
        inflate_input: Whether the first layer is adapted to other input channels.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file is none of weights, or is damaged; or if weights are
            missing or have other shapes: it is another model's.
    """
    weights = _adapted(model, _unwrapped(read_weights(source), known))
    wanted = {
        name: value
        for name, value in backbone.state_dict().items()
        if not name.startswith('dual_residual.')
    }
    first = _first_layers(model)
    if inflate_input:
        for name in first & set(weights) & set(wanted):
            if weights[name].shape[1] != wanted[name].shape[1]:
                weights[name] = inflated(weights[name], wanted[name].shape[1])
    fitting = {
        name: value
        for name, value in weights.items()
        if name in wanted and value.shape == wanted[name].shape
    }
    left = [name for name in wanted if name not in fitting]
    if left:
        wrong = [name for name in left if name in weights]
        raise ValueError(
            f'{source} is not of this model: {len(fitting)} of {len(wanted)} tensors '
            f'fit, {len(left) - len(wrong)} are missing, {len(wrong)} have another '
            f'shape ({_some(left)}). {_remedy(left, first)}'
        )
    # α and β are taken where the checkpoint has them.
    extra = {
        name: value
        for name, value in weights.items()
        if name.startswith('dual_residual.')
    }
    backbone.load_state_dict({**fitting, **extra}, strict=True)
    _report(
        source, fitting, [n for n in weights if n not in {**fitting, **extra}], known
    )


def _first_layers(model: nn.Module) -> Set[str]:
    """Return the names of the weights that see the input's channels."""
    names = (getattr(model, 'pretrained_cfg', None) or {}).get('first_conv') or ()
    names = (names,) if isinstance(names, str) else names
    return {f'{name}.weight' for name in names}


def _remedy(left: List[str], first: Set[str]) -> str:
    if set(left) <= first:
        return 'Set in_chans to that of the file, or inflate_input=True to adapt it.'
    return 'Give the checkpoint of the model that model_name names.'


def _report(
    source: str, fitting: Dict[str, Tensor], rest: List[str], known: Set[str]
) -> None:
    unused = [name for name in rest if name in known or _is_head(name)]
    strange = [name for name in rest if name not in unused]
    message = f'{source}: took {len(fitting)} tensors'
    if unused:
        message += (
            f'; left {len(unused)} that the features do not use ({_some(unused)})'
        )
    if strange:
        message += f'; {len(strange)} are unknown to the model ({_some(strange)})'
    print_log(message + '.', 'current', level=30 if strange else 20)


def _is_head(name: str) -> bool:
    return bool(re.match(r'(head|fc|fc_norm|head_dist|classifier|attn_pool)\b', name))


def _some(names: List[str]) -> str:
    shown = ', '.join(names[:_SHOWN])
    return shown + (', ...' if len(names) > _SHOWN else '')


def read_weights(source: str) -> Dict[str, Tensor]:
    """Tensors of a file or an address, by name."""
    path = str(source)
    if path.startswith(('http://', 'https://')):
        try:
            path = download_cached_file(path)
        except (OSError, RuntimeError) as error:  # RuntimeError: another hash
            raise ValueError(
                f'{source} cannot be had ({" ".join(str(error).split())[:200]}); give '
                'the path of a checkpoint that is on this machine.'
            ) from error
    elif not Path(path).is_file():
        raise FileNotFoundError(
            f'pretrained={path!r} is no file; give a timm checkpoint (pth, '
            "safetensors), an address https://..., or True for timm's own weights."
        )
    try:
        found = load_state_dict(path, use_ema=False)
    except Exception as error:  # whatever a damaged or malicious file leads to
        reason = ' '.join(str(error).split()).split('. ')[0][:200]
        raise ValueError(
            f'{source} cannot be read as a checkpoint ({type(error).__name__}: '
            f'{reason}); get it again from where it comes from.'
        ) from error
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _unwrapped(weights: Dict[str, Tensor], known: Set[str]) -> Dict[str, Tensor]:
    """Weights of the backbone of a detector or recognizer, without the prefix."""
    prefix = 'backbone.'
    if any(name in known for name in weights):
        return weights
    below = {
        name[len(prefix) :]: value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    return below or weights


def _adapted(model: nn.Module, weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Weights under today's names and in the model's shapes, as far as timm can."""
    file = sys.modules[type(model).__module__]
    adapt = getattr(file, 'checkpoint_filter_fn', None)
    if adapt is None:
        return weights
    arguments = {}
    # DeiT-III's LayerScale, in its authors' checkpoints.
    if 'adapt_layer_scale' in inspect.signature(adapt).parameters:
        arguments['adapt_layer_scale'] = True
    try:
        return adapt(weights, model, **arguments)
    except (AssertionError, AttributeError, LookupError, RuntimeError, ValueError):
        # It stumbles over another model's names; what does not fit is counted next.
        return weights
