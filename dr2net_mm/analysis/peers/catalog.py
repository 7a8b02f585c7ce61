"""The ways to train that are compared, each for the same network."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from torch import nn

from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    conventional_backbone,
    reversible_backbone,
)
from dr2net_mm.memory.activation_checkpoint import checkpoint_modules

from .adapters import WIDTH, add_adapters
from .blocks import block_lists
from .frozen import FrozenBackbone
from .lora import RANK, add_lora
from .partitioner import PartitionedForward
from .quantized import QuantizedTensors
from .saved_tensors import OffloadedTensors
from .selective import save_products
from .variant import Variant

WHOLE, PART, NOTHING = 'all', 'added parts', 'nothing'
"""What of a backbone is trained."""

#: Budgets of torch's partitioner.
PARTITIONER_BUDGETS = (1.0, 0.75, 0.5, 0.25, 0.0)
BITS = (8, 4, 2)


@dataclass(frozen=True)
class Peer:
    """One way to train a backbone.

    Attributes:
        name: How tables call it.
        trains: :data:`WHOLE`, :data:`PART` or :data:`NOTHING`.
        build: Makes the variant from the arguments of the backbone, of either class.
        reference: Makes the same network with everything stored in float32 by ordinary
            autograd; None if ordinary autograd is all that the variant uses.
        recomputed: Makes the same network, in the same arithmetic, with everything
            stored; None if it does not differ from the reference.
    """

    name: str
    trains: str
    build: Callable[[Dict[str, Any]], Variant]
    reference: Optional[Callable[[Dict[str, Any]], Variant]] = None
    recomputed: Optional[Callable[[Dict[str, Any]], Variant]] = None

    @property
    def ours(self) -> bool:
        """Whether it is one of this project."""
        return self.name.startswith('dr2')


def peers(dual_residual: Dict[str, Any], budgets: Sequence[Any] = ()) -> List[Peer]:
    """Return everything that is compared, in the order of tables.

    Args:
        dual_residual: Options of ours, such as alpha and beta.
        budgets: Values of `memory_budget` to compare, with their names.
    """
    stored = _conventional

    def whole(name: str, build: Callable[[Dict[str, Any]], Variant]) -> Peer:
        return Peer(name, WHOLE, build, stored)

    rows = [
        whole('conventional', stored),
        whole('with_cp', partial(_conventional, with_cp=True)),
        whole('block-wise checkpoint', partial(_changed, change=_checkpoint_blocks)),
        whole('selective checkpoint', partial(_changed, change=save_products)),
    ]
    for budget in PARTITIONER_BUDGETS:
        name = f'partitioner, budget {budget:g}'
        rows.append(whole(name, partial(_partitioned, budget=budget)))
    rows.append(whole('offload', _offloaded))
    for bits in BITS:
        rows.append(whole(f'quantized, {bits} bits', partial(_quantized, bits=bits)))
    rows += [
        Peer('frozen backbone', NOTHING, partial(_changed, change=FrozenBackbone)),
        Peer(f'LoRA, rank {RANK}', PART, partial(_changed, change=add_lora)),
        Peer(f'adapters, width {WIDTH}', PART, partial(_changed, change=add_adapters)),
    ]
    ours: List[Tuple[str, Dict[str, Any]]] = [('dr2 exact', dict(arithmetic='exact'))]
    ours += [
        (f'dr2 exact, budget {name}', dict(arithmetic='exact', memory_budget=budget))
        for name, budget in budgets
    ]
    ours += [('dr2 float', dict(arithmetic='float'))]
    for name, options in ours:
        options = {**dual_residual, **options}
        same: Dict[str, Any] = {**options, 'backprop': 'stored', 'memory_budget': None}
        rows.append(
            Peer(
                name,
                WHOLE,
                partial(_reversible, **options),
                partial(_reversible, **{**same, 'arithmetic': 'float'}),
                partial(_reversible, **same),
            )
        )
    return rows


def _conventional(backbone: Dict[str, Any], **changes: Any) -> Variant:
    return Variant(build_backbone(conventional_backbone(backbone, **changes)))


def _changed(
    backbone: Dict[str, Any], change: Callable[[nn.Module], nn.Module]
) -> Variant:
    return Variant(change(_conventional(backbone).model))


def _checkpoint_blocks(model: nn.Module) -> nn.Module:
    checkpoint_modules(model, block_lists(model))
    return model


def _partitioned(backbone: Dict[str, Any], budget: float) -> Variant:
    model = _conventional(backbone).model
    return Variant(model, PartitionedForward(model, budget), needs_warm_up=True)


def _offloaded(backbone: Dict[str, Any]) -> Variant:
    return Variant(_conventional(backbone).model, packed=OffloadedTensors())


def _quantized(backbone: Dict[str, Any], bits: int) -> Variant:
    return Variant(_conventional(backbone).model, packed=QuantizedTensors(bits))


def _reversible(backbone: Dict[str, Any], **options: Any) -> Variant:
    return Variant(build_backbone(reversible_backbone(backbone, **options)))
