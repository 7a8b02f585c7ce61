"""Base of the training loops that resume to the same numbers."""

from typing import Any, Callable, Dict, Iterator, List, Tuple, Union

from mmengine.dist import get_rank, get_world_size
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from dr2net_mm.engine.random_numbers import seed_random_numbers
from dr2net_mm.errors import UserError

from .seeded_batches import ITERATION, make_resumable

# Where checkpoints keep what a resumed run is compared with.
DATA_INFO = 'resumable_loop/data'
VALIDATED_INFO = 'resumable_loop/validated_iter'


class ResumableLoop(BaseLoop):
    """Base of the two loops; comes before MMEngine's loop among the bases."""

    #: Whether the loop counts epochs.
    _counts_epochs: bool

    # Of MMEngine's loops.
    _iter: int
    _max_iters: int
    val_begin: int
    val_interval: int
    _decide_current_val_interval: Callable[[], None]

    @property
    def _progress(self) -> Tuple[int, int]:
        """Epochs or iterations that are done, and those of the whole run."""
        raise NotImplementedError

    def _data_again(self, count: int) -> Iterator[Any]:
        """Return the last ``count`` batches before the current iteration."""
        raise NotImplementedError

    def __init__(
        self, runner: Runner, dataloader: Union[DataLoader, Dict], **kwargs: Any
    ) -> None:
        if isinstance(dataloader, dict):
            randomness = runner._randomness_cfg
            loader = runner.build_dataloader(
                dataloader,
                seed=runner.seed,
                diff_rank_seed=randomness.get('diff_rank_seed', False),
            )
        else:
            loader = dataloader
        self._batches = make_resumable(loader)
        super().__init__(runner, loader, **kwargs)

    def run_iter(self, *args: Any, **kwargs: Any) -> None:
        """Train on a batch, with the random numbers of this iteration and rank."""
        seed_random_numbers((self._seed, ITERATION, get_rank(), self._iter))
        super().run_iter(*args, **kwargs)  # type: ignore[misc]

    @property
    def _seed(self) -> int:
        """Seed of the run, the same on all ranks; a resumed run has its first one."""
        ranks_differ = self.runner._randomness_cfg.get('diff_rank_seed', False)
        return self.runner.seed - (get_rank() if ranks_differ else 0)

    def _samplers(self) -> List[Any]:
        """Return the samplers that order the data by a seed of their own."""
        batch_sampler = self._batches.batch_sampler
        found = [batch_sampler, getattr(batch_sampler, 'sampler', None)]
        return [sampler for sampler in found if isinstance(_seed_of(sampler), int)]

    def _take_up_data(self) -> None:
        """Compare the data with that of the run that is resumed, and take its order.

        Raises:
            UserError: If an epoch has another number of iterations.
        """
        runtime_info = self.runner.message_hub.runtime_info
        before = runtime_info.get(DATA_INFO) if self._iter > 0 else None
        now = dict(
            processes=get_world_size(),
            batch_size=getattr(self._batches.batch_sampler, 'batch_size', None),
            batches=len(self.dataloader),
        )
        if before is not None:
            self._compare(before, now)
            for sampler, seed in zip(self._samplers(), before['sampler_seeds']):
                sampler.seed = seed
        now['sampler_seeds'] = [_seed_of(sampler) for sampler in self._samplers()]
        self.runner.message_hub.update_info(DATA_INFO, now)

    def _compare(self, before: dict, now: dict) -> None:
        had, has = _shape(before), _shape(now)
        if had == has and before['batches'] == now['batches']:
            return
        if self._counts_epochs and before['batches'] != now['batches']:
            raise UserError(
                f'the checkpoint comes from a run of {before["batches"]} iterations an '
                f'epoch ({had}), this one has {now["batches"]} ({has}): schedules that '
                'count iterations cannot go on. Resume with the same number of '
                'processes x batch size and the same data, or start a new run from the '
                'weights with --cfg-options load_from=CHECKPOINT'
            )
        self.runner.logger.warning(
            f'The checkpoint comes from a run with {had}, this one has {has}: it goes '
            'on, but not to the same numbers.'
        )

    @property
    def _waiting(self) -> int:
        """Iterations whose gradients the optimizer has not used yet."""
        counts = getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)
        return self._iter % counts

    def _restore_gradients(self) -> None:
        """Recompute the gradients that wait for the next update of the optimizer.

        Checkpoints do not hold what has been accumulated since the last update. The
        weights, the random numbers and the data of those iterations are the same.
        """
        optim_wrapper, model = self.runner.optim_wrapper, self.runner.model
        waiting = self._waiting
        if waiting == 0:
            return
        self.runner.logger.info(
            f'Computing the accumulated gradients of {waiting} iterations again.'
        )
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        first = self._iter - waiting
        optim_wrapper.initialize_count_status(model, first, self._max_iters)
        model.train()
        for step, data_batch in enumerate(self._data_again(waiting), start=first):
            seed_random_numbers((self._seed, ITERATION, get_rank(), step))
            model.train_step(data_batch, optim_wrapper=optim_wrapper)
        for name, value in model.named_buffers():
            value.copy_(buffers[name])

    def _validate_if_due(self, resumed: bool = False) -> None:
        """Validate after the epoch or iteration just trained, if it is the turn.

        Checkpoints are saved before the validation. A resumed run validates first, so
        that the best checkpoint and schedulers that follow a metric come out the same.
        """
        self._decide_current_val_interval()
        step, last = self._progress
        due = step % self.val_interval == 0 or step == last
        if self.runner.val_loop is None or step < self.val_begin or not due:
            return
        hub = self.runner.message_hub
        if resumed:
            if hub.runtime_info.get(VALIDATED_INFO) == self._iter:
                return
            self.runner.logger.info(
                'Validating first: the checkpoint was saved before that.'
            )
        # Of the checkpoints, only that of a new best result is saved later than this.
        hub.update_info(VALIDATED_INFO, self._iter)
        self.runner.val_loop.run()


def _seed_of(sampler: Any) -> Any:
    return getattr(sampler, 'seed', None)


def _shape(data: dict) -> str:
    return f'{data["processes"]} processes x batch size {data["batch_size"]}'
