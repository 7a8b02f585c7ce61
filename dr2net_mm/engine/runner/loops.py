"""MMEngine's training loops, resumed to the same numbers as without an interruption.

MMEngine 0.10 saves weights, optimizer, schedulers and logged values. A resumed run of
its own loops differs nevertheless: it repeats an epoch from its start if the
checkpoint lies within it, loads all data of the earlier iterations again, restarts
every random generator at the seed, shuffles in another order if the config has no
seed, and skips the validation that followed the checkpoint.
"""

from itertools import islice
from typing import Any, Dict, Iterator, Tuple, Union

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from dr2net_mm.errors import UserError

from .resumable_loop import ResumableLoop


@LOOPS.register_module()
class ResumableEpochLoop(ResumableLoop, EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` that resumes exactly where a checkpoint was saved.

    The order of the samples is that of MMEngine. The random generators are seeded for
    every iteration and every sample, from the seed of the run, the rank and the
    position. So ranks differ in drop path, and the number of dataset workers makes no
    difference. A checkpoint may lie within an epoch.

    Takes the arguments of ``EpochBasedTrainLoop``.

    Raises:
        ValueError: If the dataloader has no batch sampler.
        UserError: In a resumed run, if an epoch has another number of iterations than
            in the run that saved the checkpoint.
    """

    _counts_epochs = True

    @property
    def _progress(self) -> Tuple[int, int]:
        return self._epoch, self._max_epochs

    def run(self) -> nn.Module:
        """Train."""
        self._take_up_data()
        self.runner.call_hook('before_train')
        if self._iter > 0 and self._iter == self._epoch * len(self.dataloader):
            self._validate_if_due(resumed=True)
        self._gradients_missing = True
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train an epoch, or what a resumed run has left of it."""
        self.runner.call_hook('before_train_epoch')
        if self._gradients_missing:
            self._restore_gradients()
            self._gradients_missing = False
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if done < 0 or self._batches.open(self._seed, self._epoch, done):
            raise UserError(
                f'the checkpoint was saved after iteration {self._iter} in epoch '
                f'{self._epoch + 1}, where epochs have {len(self.dataloader)} '
                'iterations; resume with the data that the run had'
            )
        for index, data_batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _data_again(self, count: int) -> Iterator[Any]:
        """Return the last ``count`` batches before the current iteration."""
        sampler: Any = getattr(self._batches.batch_sampler, 'sampler', None)
        current = getattr(sampler, 'epoch', None)
        while count > 0:
            epoch, index = divmod(self._iter - count, len(self.dataloader))
            if current is not None:
                sampler.set_epoch(epoch)
            self._batches.open(self._seed, epoch, index)
            for data_batch in islice(self.dataloader, count):
                yield data_batch
                count -= 1
        if current is not None:
            sampler.set_epoch(current)


@LOOPS.register_module()
class ResumableIterLoop(ResumableLoop, IterBasedTrainLoop):
    """``IterBasedTrainLoop`` that resumes exactly where a checkpoint was saved.

    See :class:`ResumableEpochLoop`. Data that has been trained on is passed over
    without being loaded.

    Takes the arguments of ``IterBasedTrainLoop``.

    Raises:
        ValueError: If the dataloader has no batch sampler, or no batches.
    """

    _counts_epochs = False

    def __init__(
        self, runner: Runner, dataloader: Union[DataLoader, Dict], **kwargs: Any
    ) -> None:
        super().__init__(runner, dataloader, **kwargs)
        # MMEngine has started the workers, before the checkpoint tells where to begin.
        self.dataloader._iterator = None
        self.dataloader_iterator = self._stream(0)

    @property
    def _progress(self) -> Tuple[int, int]:
        return self._iter, self._max_iters

    def run(self) -> nn.Module:
        """Train."""
        self._take_up_data()
        self.runner.call_hook('before_train')
        if self._iter > 0:
            self._validate_if_due(resumed=True)
        self.runner.call_hook('before_train_epoch')
        self.dataloader_iterator = self._stream(self._iter - self._waiting)
        self._restore_gradients()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _data_again(self, count: int) -> Iterator[Any]:
        """Return the last ``count`` batches before the current iteration."""
        return islice(self.dataloader_iterator, count)

    def _stream(self, done: int) -> Iterator[Any]:
        """Yield batches without end, after the first ``done``."""
        epoch = 0
        while True:
            sampler: Any = getattr(self._batches.batch_sampler, 'sampler', None)
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
            left = self._batches.open(self._seed, epoch, done)
            batches = 0
            if left == 0:
                for batches, data_batch in enumerate(self.dataloader, start=1):
                    yield data_batch
            if done == left and batches == 0:
                raise ValueError('train_dataloader has no batches')
            epoch, done = epoch + 1, left
