"""Batches of a dataloader whose order and augmentation can be taken up anywhere."""

from itertools import count, islice
from typing import Any, Iterator, Sequence, Tuple

from mmengine.dist import get_rank
from torch.utils.data import DataLoader

from dr2net_mm.engine.random_numbers import PrivateRandomNumbers, seed_random_numbers

# Set apart the keys of the order of samples, of a sample and of an iteration.
ORDER, SAMPLE, ITERATION = range(3)


class SeededBatch:
    """Indices of a batch that seed the random numbers of each sample as it is loaded.

    Whoever loads the batch, a worker or the main process, iterates over it.

    Args:
        indices: Indices of the samples.
        key: Key of the batch; a sample's own has its place in the batch besides.
    """

    __slots__ = ('indices', 'key')

    def __init__(self, indices: Sequence[Any], key: Tuple[int, ...]) -> None:
        self.indices = indices
        self.key = key

    def __iter__(self) -> Iterator[Any]:
        for place, index in enumerate(self.indices):
            seed_random_numbers((*self.key, place), devices=False)
            yield index

    def __len__(self) -> int:
        return len(self.indices)


class ResumableBatchSampler:
    """Batch sampler that starts where it is told to, without loading what is before.

    It draws the order of the samples with random numbers of its own, so that samplers
    that use the global generators give the same order again. It yields nothing until
    :meth:`open` is called, and one pass after each call.

    Args:
        batch_sampler: The batch sampler whose batches are yielded.
    """

    def __init__(self, batch_sampler: Any) -> None:
        self.batch_sampler = batch_sampler
        self._pass: Iterator[SeededBatch] = iter(())

    def __getattr__(self, name: str) -> Any:
        if name == 'batch_sampler':
            raise AttributeError(name)
        return getattr(self.batch_sampler, name)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        # DataLoader asks for an iterator twice and uses one: both are the open pass.
        return self._pass

    def open(self, seed: int, epoch: int, done: int) -> int:
        """Begin a pass over the dataset.

        Args:
            seed: Seed of the run.
            epoch: Number of the pass, from 0.
            done: Batches at its beginning to leave out.

        Returns:
            How many of ``done`` are left because the pass has fewer batches.
        """
        own_numbers = PrivateRandomNumbers((seed, ORDER, epoch))
        with own_numbers:
            batches = iter(self.batch_sampler)
            skipped = sum(1 for _ in islice(batches, done))
        key = (seed, SAMPLE, get_rank(), epoch)
        self._pass = _seeded(batches, own_numbers, key, skipped)
        return done - skipped


def _seeded(
    batches: Iterator[Any],
    own_numbers: PrivateRandomNumbers,
    key: Tuple[int, ...],
    first: int,
) -> Iterator[SeededBatch]:
    for index in count(first):
        # Only this is drawn with its own numbers: the caller's code runs between.
        with own_numbers:
            batch = next(batches, None)
        if batch is None:
            return
        yield SeededBatch(batch, (*key, index))


def make_resumable(dataloader: DataLoader) -> ResumableBatchSampler:
    """Put a :class:`ResumableBatchSampler` around the batch sampler of a dataloader.

    Raises:
        ValueError: If it has none.
    """
    if getattr(dataloader, 'batch_sampler', None) is None:
        raise ValueError(
            'resumable loops need a train_dataloader with a sampler and a batch size, '
            f'got {type(dataloader).__name__} without them; give them, or take '
            "MMEngine's own loop with train_cfg.type='mmengine.EpochBasedTrainLoop' or "
            "'mmengine.IterBasedTrainLoop'"
        )
    batches = ResumableBatchSampler(dataloader.batch_sampler)
    # DataLoader refuses an assignment because its batch_size and sampler could then
    # disagree with it; here they do not.
    vars(dataloader)['batch_sampler'] = batches
    return batches
