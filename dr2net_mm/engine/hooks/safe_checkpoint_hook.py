"""Checkpoints that do not delete the last one before the next one exists."""

from typing import Any, Callable, List, Tuple

from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


class _LaterRemoval:
    """A file backend whose removals wait until they are carried out together."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._waiting: List[Tuple[Callable, str]] = []

    def __getattr__(self, name: str) -> Any:
        if name == '_backend':
            raise AttributeError(name)
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._waiting.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._waiting.append((self._backend.rmtree, path))

    def carry_out(self) -> None:
        while self._waiting:
            remove, path = self._waiting.pop()
            if self._backend.exists(path):
                remove(path)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that removes an outdated checkpoint after writing the new one.

    MMEngine removes it before, so that a run with ``max_keep_ckpts=1`` that is killed,
    or finds the disk full, while it writes is left with no checkpoint at all. The same
    goes for the best checkpoint. Here the disk has to hold one checkpoint more for a
    moment.

    Takes the arguments of ``CheckpointHook``.
    """

    file_backend: Any

    def before_train(self, runner: Runner) -> None:
        """Take the file backend, and keep back what is removed through it."""
        super().before_train(runner)
        self.file_backend = _LaterRemoval(self.file_backend)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        self.file_backend.carry_out()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        super()._save_best_checkpoint(runner, metrics)
        self.file_backend.carry_out()
