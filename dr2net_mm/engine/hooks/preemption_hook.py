"""Saves a checkpoint when the cluster asks the run to stop."""

import os.path
import signal
import threading
from types import FrameType
from typing import Any, Dict, Optional, Sequence

import torch
from mmengine import dist
from mmengine.fileio import join_path, put_text
from mmengine.hooks import CheckpointHook, Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from dr2net_mm.engine.runner import ResumableEpochLoop
from dr2net_mm.engine.signals import let_workers_outlive_sigterm
from dr2net_mm.errors import StoppedBySignal

# What an interrupted run saves, at whatever iteration.
INTERRUPTED_CHECKPOINT = 'interrupted.pth'

# Windows has only the first.
DEFAULT_SIGNALS = tuple(
    name for name in ('SIGTERM', 'SIGUSR1') if name in signal.Signals.__members__
)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On a signal, finishes the iteration, saves a checkpoint and ends the run.

    slurm sends SIGTERM when a job is canceled or pre-empted, and, where asked to
    (``--signal=USR1@120``), another signal before the time limit. If any rank has had
    one, all stop after the same iteration. The checkpoint ``interrupted.pth`` becomes
    the one that ``--resume`` takes; the next interruption overwrites it. With
    accumulated gradients the run continues to the next update of the optimizer.

    During a validation nothing can be saved: the run stops after the next training
    iteration, if it gets that far.

    Under MMEngine's own ``EpochBasedTrainLoop``, which cannot go on within an epoch,
    the run stops without that checkpoint.

    Args:
        signals: Names of the signals.
        interval: Iterations between two questions to the other ranks.

    Raises:
        StoppedBySignal: To end the run, after the checkpoint has been written.
        ValueError: If a signal is unknown or ``interval`` is below 1.
    """

    # After the hooks that end an iteration have had their turn.
    priority = 'LOWEST'

    def __init__(
        self, signals: Sequence[str] = DEFAULT_SIGNALS, interval: int = 1
    ) -> None:
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown or isinstance(signals, str):
            raise ValueError(
                'signals of PreemptionHook must be a list of names such as '
                f"['SIGTERM', 'SIGUSR1'], got {signals!r}"
            )
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(
                'interval of PreemptionHook must be a number of iterations from 1, '
                f'got {interval!r}'
            )
        self.signals = [signal.Signals[name] for name in signals]
        self.interval = interval
        self._received = 0
        self._previous: Dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen for the signals."""
        if threading.current_thread() is not threading.main_thread():
            runner.logger.warning(
                'PreemptionHook: signals reach the main thread only, and training '
                'runs in another; it cannot be interrupted in good order.'
            )
            return
        for loop in (runner.train_loop, runner.val_loop):
            dataloader = getattr(loop, 'dataloader', None)
            if isinstance(dataloader, DataLoader):
                let_workers_outlive_sigterm(dataloader)
        self._received = 0
        for number in self.signals:
            self._previous[number] = signal.signal(number, self._note)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Stop if a signal has arrived on any rank."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        received = self._received_anywhere()
        optimizer = runner.optim_wrapper
        if not received or not getattr(optimizer, 'should_update', lambda: True)():
            return
        name, iteration = signal.Signals(received).name, runner.iter + 1
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop) and not isinstance(
            loop, ResumableEpochLoop
        ):
            advice = 'go on from the last checkpoint with --resume'
        else:
            path = self._save(runner)
            advice = f'go on with --resume (checkpoint: {path})'
        self._restore_handlers()
        raise StoppedBySignal(
            received, f'stopped by {name} after iteration {iteration}; {advice}'
        )

    def after_train(self, runner: Runner) -> None:
        """Leave the signals to whoever had them before."""
        self._restore_handlers()

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        # Those who cannot wait send SIGKILL; launchers send the others repeatedly.
        self._received = number

    def _restore_handlers(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)

    def _received_anywhere(self) -> int:
        if dist.get_world_size() == 1:
            return self._received
        device = dist.get_comm_device()
        received = torch.tensor(self._received, dtype=torch.int32, device=device)
        dist.all_reduce(received, op='max')
        return int(received)

    @staticmethod
    def _save(runner: Runner) -> str:
        saver = next(
            (hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None
        )
        folder = getattr(saver, 'out_dir', None) or runner.work_dir
        backend_args = getattr(saver, 'backend_args', None)
        path = join_path(folder, INTERRUPTED_CHECKPOINT, backend_args=backend_args)
        runner.save_checkpoint(
            folder,
            INTERRUPTED_CHECKPOINT,
            meta=dict(epoch=runner.epoch, iter=runner.iter + 1),
            by_epoch=False,
            backend_args=backend_args,
        )
        if dist.is_main_process():
            put_text(path, os.path.join(runner.work_dir, 'last_checkpoint'))
        # A rank that ends earlier would have the others killed while one is writing.
        dist.barrier()
        return path
