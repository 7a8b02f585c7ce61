"""Gradients of a peer compared with those of stored float32 activations."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from dr2net_mm.analysis.quiet import quiet_logger
from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.reversible.gradient_error import compare_gradients

from .catalog import Peer
from .variant import Variant

Gradients = Dict[str, Tensor]


class PeerError(NamedTuple):
    """Relative errors of gradients, |g - r| / |r| over all parameters.

    Attributes:
        gradient_error: Against everything stored, in float32; None where ordinary
            autograd is all that a peer uses.
        recomputation_error: Against everything stored in the peer's own arithmetic.
    """

    gradient_error: Optional[float]
    recomputation_error: Optional[float]


class PeerErrors:
    """Measurement of gradient errors with equal weights, inputs and random numbers.

    The loss is a random projection of all outputs: their sum is constant, because they
    are normalized, and has a gradient of zero.

    Args:
        backbone: Arguments of the backbone, of either class; weights are random.
        image_size: Height and width in pixels, behind the frames of videos.
        batch: Images or videos.
        seed: Of weights, input, projection and drop path.
    """

    def __init__(
        self,
        backbone: Dict[str, Any],
        image_size: Sequence[int] = (224, 224),
        batch: int = 1,
        seed: int = 0,
    ) -> None:
        self._backbone = backbone
        self._seed = seed
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, backbone.get('in_channels', 3), *image_size)
        self._image = torch.randn(shape, generator=generator)
        self._references: Dict[str, Gradients] = {}

    def measure(self, peer: Peer) -> PeerError:
        """Measure the errors of one peer."""
        if peer.reference is None:
            return PeerError(None, None)
        with torch.random.fork_rng():
            found = self._gradients(peer.build)
            error = _relative(found, self._reference(peer.reference))
            if peer.recomputed is None:
                return PeerError(error, error)
            return PeerError(error, _relative(found, self._reference(peer.recomputed)))

    def _reference(self, build: Callable[[Dict[str, Any]], Variant]) -> Gradients:
        key = repr(build)
        if key not in self._references:
            self._references[key] = self._gradients(build)
        return self._references[key]

    def _gradients(self, build: Callable[[Dict[str, Any]], Variant]) -> Gradients:
        torch.manual_seed(self._seed)
        variant = build(self._backbone)
        self._initialize(variant)
        if variant.needs_warm_up:
            variant(self._image)
        torch.manual_seed(self._seed)  # the same drop path everywhere
        outputs = output_list(variant(self._image))
        torch.autograd.backward(outputs, self._projections(outputs))
        return {
            name: parameter.grad
            for name, parameter in variant.model.named_parameters()
            if parameter.grad is not None
        }

    def _initialize(self, variant: Variant) -> None:
        if not hasattr(variant.model, 'init_weights'):
            return
        with quiet_logger():
            torch.manual_seed(self._seed)
            variant.model.init_weights()

    def _projections(self, outputs: Sequence[Tensor]) -> List[Tensor]:
        generator = torch.Generator().manual_seed(self._seed + 1)
        return [torch.randn(output.shape, generator=generator) for output in outputs]


def _relative(found: Gradients, reference: Gradients) -> float:
    missing = sorted(set(found) ^ set(reference))
    if missing:
        raise ValueError(
            f'parameter {missing[0]} has a gradient in one network alone; both must '
            'train the same parameters'
        )
    names = list(reference)
    return compare_gradients(
        [found[name] for name in names], [reference[name] for name in names]
    ).relative_error
