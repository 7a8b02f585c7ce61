"""torch's own choice of what to keep: the min-cut partitioner and its budget."""

from typing import Any, Callable, List, Optional, Sequence

import torch
from torch import Tensor, nn

from dr2net_mm.errors import UserError


class PartitionedForward:
    """A model whose forward and backward graphs torch's partitioner has cut.

    The graph is that of ``torch.compile`` with ``aot_eager``, cut as for inductor: it
    is what ``torch._functorch.config.activation_memory_budget`` acts on. Both graphs
    run operator by operator, as eager code does, so that no compiler is needed and the
    memory can be counted; the fused kernels that the cut is made for would keep and
    take less. The whole backbone is one region.

    Args:
        model: The network. It is traced at the first call; later calls must have the
            same shapes.
        budget: 1 for the partitioner's default, 0 for as much recomputation as there
            is, shares of the saved activations in between.
    """

    def __init__(self, model: nn.Module, budget: float) -> None:
        config = _functorch_config()
        if not hasattr(config, 'activation_memory_budget'):
            raise UserError(
                f'torch {torch.__version__} has no activation_memory_budget; use torch '
                '2.4 or later'
            )
        self._model, self._budget = model, budget
        self._traced: Optional[Callable[[Tensor], Any]] = None

    def __call__(self, images: Tensor) -> Any:
        """Run the forward graph."""
        if self._traced is not None:
            return self._traced(images)
        from functorch.compile import aot_module, min_cut_rematerialization_partition

        self._traced = aot_module(
            self._model,
            fw_compiler=_interpreted,
            bw_compiler=_interpreted,
            partition_fn=min_cut_rematerialization_partition,
        )
        # Both graphs are made in the first call.
        with _functorch_config().patch(activation_memory_budget=self._budget):
            return self._traced(images)


def _functorch_config() -> Any:
    import torch._functorch.config as config

    return config


def _interpreted(graph: torch.fx.GraphModule, example: Sequence[Any]) -> Any:
    """Return a callable that runs a graph and lets go of each value after its use."""

    def run(arguments: List[Any]) -> Any:
        return torch.fx.Interpreter(graph).boxed_run(arguments)

    run._boxed_call = True  # type: ignore[attr-defined]
    return run
