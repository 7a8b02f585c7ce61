"""What is asked of each engine; every answer is measured."""

import math
from itertools import accumulate
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from dr2net_mm.reversible.gradient_error import compare_gradients

from .network import Network, ReversibleViT, StackFactory, record_dropout
from .stacks import Engine

Gradients = List[Optional[Tensor]]
DROPOUT = 0.1


def loss_of(model: nn.Module, images: Tensor) -> Tensor:
    """Compute a random projection of the outputs; their sum is constant."""
    output = model(images)
    generator = torch.Generator().manual_seed(1)
    projection = torch.randn(output.shape, generator=generator)
    return (output.float() * projection).sum()


def gradients_of(models: Sequence[ReversibleViT]) -> Gradients:
    """Return the gradients of all parameters, in an order that no engine changes."""
    return [parameter.grad for model in models for parameter in model.compared]


class Checks:
    """The questions, each of one engine.

    Args:
        network: What the engines run.
    """

    def __init__(self, network: Network) -> None:
        self.network = network

    def _single(self, factory: StackFactory, amp: bool = False) -> Gradients:
        model = self.network.build(factory)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
            loss = loss_of(model, self.network.images())
        loss.backward()
        return gradients_of([model])

    def _two_forwards(self, factory: StackFactory) -> Gradients:
        model = self.network.build(factory)
        losses = [loss_of(model, self.network.images(seed)) for seed in (0, 1)]
        sum(losses[1:], losses[0]).backward()
        return gradients_of([model])

    def _two_models(self, factory: StackFactory) -> Gradients:
        models = [self.network.build(factory, seed) for seed in (0, 1)]
        losses = [loss_of(model, self.network.images()) for model in models]
        sum(losses[1:], losses[0]).backward()
        return gradients_of(models)

    def gradient_error(self, engine: Engine) -> float:
        """Compute the relative error against everything stored in float32."""
        return self._error(self._single, engine.factory, engine.float_stored)

    def recomputation_error(self, engine: Engine) -> float:
        """Compute the same against everything stored in the engine's arithmetic."""
        return self._error(self._single, engine.factory, engine.stored)

    def autocast_error(self, engine: Engine) -> float:
        """Compute the error under bf16 autocast, against stored under the same."""

        def under_autocast(factory: StackFactory) -> Gradients:
            return self._single(factory, amp=True)

        return self._error(under_autocast, engine.factory, engine.stored)

    def two_forwards_error(self, engine: Engine) -> float:
        """Compute the error of two forward passes before one backward pass."""
        return self._error(self._two_forwards, engine.factory, engine.stored)

    def two_models_error(self, engine: Engine) -> float:
        """Compute the error of two models, forward both, then backward both."""
        return self._error(self._two_models, engine.factory, engine.stored)

    @staticmethod
    def _error(
        run: Callable[[StackFactory], Gradients],
        factory: StackFactory,
        reference: StackFactory,
    ) -> float:
        return compare_gradients(run(factory), run(reference)).relative_error

    def dropout_replayed(self, engine: Engine) -> float:
        """Compute the share of recomputations that draw the masks of the forward pass.

        Nothing recomputed counts as 1.
        """
        model = self.network.build(engine.factory, dropout=DROPOUT)
        recorded = record_dropout(model)
        loss_of(model, self.network.images()).backward()
        pairs = [
            torch.equal(layer.masks[0], mask)
            for layer in recorded
            for mask in layer.masks[1:]
        ]
        return sum(pairs) / len(pairs) if pairs else 1.0

    def peak_bytes(self, engine: Engine) -> int:
        """Measure what torch's CPU allocator hands out at most in a step.

        Gradients of parameters are there before, as with accumulation, and do not
        count; temporary ones do.
        """
        model = self.network.build(engine.factory)
        images = self.network.images()
        loss_of(model, images).backward()
        for parameter in model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            loss_of(model, images).backward()
        assert found.profiler is not None
        events = sorted(
            found.profiler.kineto_results.events(), key=lambda event: event.start_ns()
        )
        sizes = [event.nbytes() for event in events if event.name() == '[memory]']
        return int(max(accumulate(sizes)))


def answer(question: Callable[[Engine], Any], engine: Engine) -> Dict[str, Any]:
    """Ask one question.

    Returns:
        value (a number, or 'nan'), or error: type and first sentence of what was
        raised.
    """
    try:
        value = question(engine)
    except Exception as error:  # what an engine of others raises is the answer
        first = (str(error).strip().splitlines() or [''])[0].split('. ')[0]
        return dict(error=f'{type(error).__name__}: {first}')
    return dict(value=value if math.isfinite(value) else str(value))
