"""Wrappers of a model that a dual-residual backbone can work under."""

import sys
from typing import Tuple

import torch
import torch.fx
from torch import Tensor, nn

from dr2net_mm.reversible import ReversibleError

_DDP = (
    'MMDistributedDataParallel (launch with tools/dist_train.sh; '
    "optimizer=dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', ...) "
    'shards the optimizer state)'
)


class UnsupportedWrapperError(ReversibleError):
    """A wrapper under which gradients of a dual-residual backbone would be wrong."""


def check_wrapping(backbone: nn.Module, reversible: bool) -> None:
    """Check that the parameters are whole wherever a residual branch is evaluated.

    Residual branches are evaluated from modules inside the blocks, again in the
    backward pass, and their parameters are inputs of an autograd function. So they must
    be parameters, and have their own shapes, from the start of the backbone's forward
    pass to the end of its backward pass. DistributedDataParallel leaves them so;
    FullyShardedDataParallel does where the backbone is (within) one of its units;
    DeepSpeed's ZeRO stages 1 and 2 do.

    Looks at the modules in the first forward pass with gradients: a model is wrapped
    before that.

    Args:
        backbone: The backbone, inside all wrappers.
        reversible: Whether its backward pass is the reversible one.

    Raises:
        UnsupportedWrapperError: If they are not, naming what to use instead.
    """
    name = type(backbone).__name__
    if getattr(backbone, '_is_replica', False):
        raise UnsupportedWrapperError(
            f'{name} cannot be trained under DataParallel: its replicas have no '
            f'parameters of their own. Use {_DDP}.'
        )
    if torch.is_grad_enabled() and not getattr(backbone, '_wrapping_checked', False):
        _check_modules(backbone, reversible)
        backbone._wrapping_checked = True


def refuse_symbols(backbone: nn.Module, x: Tensor) -> None:
    """Raise for what ``torch.fx`` passes in place of a tensor.

    Raises:
        TypeError: Naming the tools that work.
    """
    if isinstance(x, torch.fx.Proxy):
        name = type(backbone).__name__
        raise TypeError(
            f'torch.fx.symbolic_trace cannot record {name}, which looks at the shape '
            'of its input. Use torch.export.export or torch.jit.trace, or let the '
            f'tracer take {name} for a leaf (Tracer.is_leaf_module).'
        )


def is_sharded(model: nn.Module) -> bool:
    """Return whether some parameter is sharded between the iterations."""
    units = _sharded_units()
    return any(isinstance(module, units) for module in model.modules()) or any(
        _is_slice(parameter) for parameter in model.parameters()
    )


def _check_modules(backbone: nn.Module, reversible: bool) -> None:
    name = type(backbone).__name__
    for module_name, module in backbone.named_modules():
        if module_name and isinstance(module, _sharded_units()):
            raise UnsupportedWrapperError(
                f'FullyShardedDataParallel wraps {module_name!r} inside {name}, whose '
                'residual branches are evaluated outside that module, where its '
                'parameters are not there. Let auto_wrap_policy wrap the backbone as '
                f'a whole (or nothing in it), or use {_DDP}.'
            )
        if reversible and _hides_parameters(module):
            raise UnsupportedWrapperError(
                f'{module_name!r} of {name} has tensors in place of its parameters, '
                'which get no gradient from a reversible backward pass. Set '
                "use_orig_params=True (MMEngine's default) in the "
                f'FullyShardedDataParallel wrapper, or use {_DDP}.'
            )
    if reversible and any(map(_is_slice, backbone.parameters())):
        raise UnsupportedWrapperError(
            f'{name} cannot be reversed under ZeRO stage 3 of DeepSpeed, which keeps '
            'a slice of each parameter. Use zero_optimization=dict(stage=2), or '
            "dual_residual=dict(backprop='stored') in the backbone."
        )


def _sharded_units() -> Tuple[type, ...]:
    """Return the classes of modules that FSDP shards by themselves."""
    # Where FSDP is in use it is imported; importing it here would cost a second.
    fsdp = sys.modules.get('torch.distributed.fsdp')
    names = ('FullyShardedDataParallel', 'FSDPModule')
    return tuple(getattr(fsdp, name) for name in names if hasattr(fsdp, name))


def _is_slice(parameter: nn.Parameter) -> bool:
    """Return whether DeepSpeed's ZeRO stage 3 keeps a slice of a parameter."""
    return hasattr(parameter, 'ds_tensor')


def _hides_parameters(module: nn.Module) -> bool:
    """Return whether tensors that need a gradient stand where parameters should.

    A module that computes its weight from parameters of its own, as weight
    normalization does, is no such case.
    """
    if any(parameter is not None for parameter in module._parameters.values()):
        return False
    return any(
        isinstance(value, Tensor) and value.requires_grad
        for value in vars(module).values()
    )
