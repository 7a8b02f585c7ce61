"""Checkpoints of runs whose optimizer state is shared out among the ranks."""

import contextlib
import functools
from typing import Any, Callable, Iterator, List

from mmengine.optim import OptimWrapperDict, ZeroRedundancyOptimizer
from mmengine.runner import Runner


def consolidate_before_saving() -> bool:
    """Let every rank take part where ``Runner.save_checkpoint`` collects the state.

    The ``ZeroRedundancyOptimizer`` of MMEngine (PR #551; up to 0.10.7) collects the
    state from all ranks when its state dict is asked for, which
    ``Runner.save_checkpoint`` does on rank 0 alone: that rank waits forever.
    Here all ranks collect it beforehand.

    Returns:
        Whether there was anything to do.
    """
    if hasattr(Runner.save_checkpoint, 'consolidates'):
        return False
    Runner.save_checkpoint = _consolidating(Runner.save_checkpoint)
    return True


def _consolidating(save_checkpoint: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(save_checkpoint)
    def save(runner: Runner, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('save_optimizer', True):
            with _consolidated(_sharded_optimizers(runner)):
                save_checkpoint(runner, *args, **kwargs)
        else:
            save_checkpoint(runner, *args, **kwargs)

    save.consolidates = True  # type: ignore[attr-defined]
    return save


def _sharded_optimizers(runner: Runner) -> List[ZeroRedundancyOptimizer]:
    wrappers = [runner.optim_wrapper]
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        wrappers = list(runner.optim_wrapper.values())
    optimizers = [getattr(wrapper, 'optimizer', None) for wrapper in wrappers]
    return [each for each in optimizers if isinstance(each, ZeroRedundancyOptimizer)]


@contextlib.contextmanager
def _consolidated(optimizers: List[ZeroRedundancyOptimizer]) -> Iterator[None]:
    """Let rank 0 reuse the whole state instead of collecting it again."""
    for optimizer in optimizers:
        optimizer.consolidate_state_dict()
        optimizer.consolidate_state_dict = lambda *_, **__: None
    try:
        yield
    finally:
        for optimizer in optimizers:
            del optimizer.consolidate_state_dict
