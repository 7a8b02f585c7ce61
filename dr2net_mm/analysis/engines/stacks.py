"""The engines: each runs the same branches as a reversible stack."""

import importlib
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn

from dr2net_mm.errors import UserError
from dr2net_mm.reversible.sequential import DualResidualSequential

from .network import StackFactory

#: Package -> how the versions that were compared are installed. mmpretrain without its
#: requirements, among which none is missing for this.
INSTALL = dict(
    revlib='pip install --no-deps revlib==1.7.2',
    memcnn='pip install --no-deps memcnn==1.5.2',
    mmpretrain='pip install --no-deps mmpretrain==1.2.0 einops mat4py model-index '
    'ordered-set',
)


@dataclass(frozen=True)
class Engine:
    """One reversible engine.

    Attributes:
        name: How tables call it.
        factory: Makes the stack.
        stored: The same network in the same arithmetic by ordinary autograd.
        float_stored: The same in float32.
        package: What it is from, None for this project and torch.
    """

    name: str
    factory: StackFactory
    stored: StackFactory
    float_stored: StackFactory
    package: Optional[str] = None


def engines() -> List[Engine]:
    """Return all engines, the stored reference first."""

    def ours(**options: Any) -> Dict[str, Any]:
        stored = dict(options, backprop='stored')
        return dict(
            factory=partial(dual_residual, **options),
            stored=partial(dual_residual, **stored),
            float_stored=partial(dual_residual, **dict(stored, arithmetic='float')),
        )

    published: Dict[str, Any] = dict(stored=StoredStack, float_stored=StoredStack)
    return [
        Engine('stored', StoredStack, **published),
        Engine('revlib', _revlib, **published, package='revlib'),
        Engine('memcnn', _memcnn, **published, package='memcnn'),
        Engine('mmpretrain Rev-ViT', _mmpretrain, **published, package='mmpretrain'),
        Engine('dr2 float', **ours(arithmetic='float', alpha=0.0, beta=1.0)),
        Engine('dr2 exact', **ours(alpha=0.0, beta=1.0)),
        Engine('dr2 exact, (1, 0.1)', **ours(alpha=1.0, beta=0.1)),
        Engine('dr2 float, (1, 0.1)', **ours(arithmetic='float', alpha=1.0, beta=0.1)),
    ]


def imported(package: str) -> Any:
    """Import a package that only this comparison needs.

    Raises:
        UserError: If it cannot be imported, with the remedy.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            if package == 'mmpretrain':
                return _reversible_part_of_mmpretrain()
            return importlib.import_module(package)
    except Exception as error:  # packages of other years fail in many ways
        reason = f'{type(error).__name__}: {str(error).splitlines()[0]}'
        raise UserError(
            f'{package} cannot be imported ({reason}); {INSTALL[package]}'
        ) from error


def _reversible_part_of_mmpretrain() -> Any:
    dependency = importlib.import_module('mmpretrain.utils.dependency')
    # Its language models do not import beside transformers 5, and are not needed.
    vars(dependency)['WITH_MULTIMODAL'] = False
    return importlib.import_module('mmpretrain.models.backbones.revvit')


def dual_residual(branches: Sequence[nn.Module], **options: Any) -> nn.Module:
    """Return this project's stack."""
    return DualResidualSequential(branches, fusion='mean', **options)


class StoredStack(nn.Module):
    """A RevNet by ordinary autograd, every activation stored.

    Args:
        branches: F_1 … F_N.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (x_N + y_N) / 2 of x_0 [B, N, C]."""
        y = x
        for branch in self.branches:
            x, y = y + branch(x), x
        return (x + y) / 2


class _TwoStreams(nn.Module):
    """An engine between the streams [B, N, 2C] of its input and output."""

    def __init__(self, engine: nn.Module) -> None:
        super().__init__()
        self.engine = engine

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.engine(torch.cat([x, x], dim=-1)).chunk(2, dim=-1)
        return (first + second) / 2


def _revlib(branches: Sequence[nn.Module]) -> nn.Module:
    package = imported('revlib')
    return _TwoStreams(package.ReversibleSequential(*branches, split_dim=-1))


def _memcnn(branches: Sequence[nn.Module]) -> nn.Module:
    package = imported('memcnn')
    blocks = [
        package.InvertibleModuleWrapper(
            package.AdditiveCoupling(attention, mlp, split_dim=-1),
            keep_input=False,
            keep_input_inverse=False,
            preserve_rng_state=True,
        )
        for attention, mlp in zip(branches[::2], branches[1::2])
    ]
    return _TwoStreams(nn.Sequential(*blocks))


class _MMPretrainStack(nn.Module):
    """mmpretrain's layers and backward pass around the branches' own modules."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        package = imported('mmpretrain')
        self._apply_layers = package.RevBackProp.apply
        self.layers = nn.ModuleList()
        for number, (attention, mlp) in enumerate(zip(branches[::2], branches[1::2])):
            layer = package.RevTransformerEncoderLayer(8, 1, 8, layer_id=number)
            layer.ln1, layer.attn = attention[0], attention[1]
            layer.ln2, layer.ffn = mlp[0], mlp[1]
            self.layers.append(layer)

    def forward(self, streams: Tensor) -> Tensor:
        return self._apply_layers(streams, self.layers, [])


def _mmpretrain(branches: Sequence[nn.Module]) -> nn.Module:
    return _TwoStreams(_MMPretrainStack(branches))
