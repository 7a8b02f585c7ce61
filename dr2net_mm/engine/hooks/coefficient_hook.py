"""Moves alpha and beta of the dual-residual backbones while they train."""

import logging
from typing import Any, Dict, List, Optional, Sequence

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from dr2net_mm.backbones.base.dual_residual import (
    DualResidualBackbone,
    dual_residual_backbones,
)
from dr2net_mm.engine.model_wrappers import averaged_models, unwrapped
from dr2net_mm.reversible.schedule import CoefficientSchedule, check_count


@HOOKS.register_module()
class Dr2CoefficientHook(Hook):
    """Sets (alpha, beta) of every dual-residual backbone before each iteration.

    The values are those of
    :class:`~dr2net_mm.reversible.schedule.CoefficientSchedule` at
    ``runner.iter`` and of nothing else, so a resumed run continues exactly
    where it stopped. They are set in the model inside any wrapper and in the
    copy that an ``EMAHook`` keeps, which would otherwise stay, and be saved, at
    the start; and they are logged as ``dr2/alpha`` and ``dr2/beta``.

    An iteration is what ``runner.iter`` counts: one batch, also when gradients
    are accumulated over several. Give a multiple of ``accumulative_counts`` as
    ``interval`` to keep the coefficients constant within an optimizer step.

    Validation and checkpoints use the values of the last iteration trained.
    Tests use those of the checkpoint: this hook does nothing in a test run.
    An average of weights takes the values of the weights that it was last
    given. Those of earlier iterations were trained for other values: let an
    average that forgets nothing, as ``StochasticWeightAverage`` does, begin
    after the end point.

    Note:
        The priority is VERY_HIGH, above that of everything a config is likely
        to add: other hooks see the new coefficients before an iteration, and
        an overflow is reported after it before an average, a log line or a
        checkpoint takes over its outcome. Where ``EMAHook`` stands in
        ``custom_hooks`` makes no difference.

    Args:
        start: (alpha, beta) of the first iteration.
        end: (alpha, beta) from the end point on.
        end_epoch: The end point τ: how many epochs are trained before (alpha,
            beta) is ``end``. Exactly one of this and ``end_iter`` is required.
        end_iter: The same in iterations.
        interval: η, the iterations (or epochs) between two updates.
        interval_by_epoch: Whether ``interval`` counts epochs.
        order: ``'simultaneous'``, ``'alpha_first'``, ``'beta_first'`` or
            ``'unit_gain'`` (alpha = 1 - beta all along).
        policy: ``'linear'``, ``'exponential'`` or ``'logarithmic'``.
        monotone: Whether alpha must not increase and beta not decrease.

    Raises:
        TypeError: If an argument is not of the kind described.
        ValueError: If an argument is outside its range; before training, if
            the model holds no dual-residual backbone, the end point lies
            beyond the run, or there are two of these hooks.

    Source: Dr²Net, Sec. 3.3.2.

    Examples:
        >>> custom_hooks = [
        >>>     dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=10)
        >>> ]
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        start: Sequence[float] = (1.0, 0.1),
        end: Sequence[float] = (0.3, 0.7),
        end_epoch: Optional[int] = None,
        end_iter: Optional[int] = None,
        interval: int = 2,
        interval_by_epoch: bool = False,
        order: str = 'simultaneous',
        policy: str = 'linear',
        monotone: bool = True,
    ) -> None:
        if (end_epoch is None) == (end_iter is None):
            raise ValueError(
                f'end_epoch is {end_epoch} and end_iter is {end_iter}; give '
                'exactly one of them, for example end_epoch=10'
            )
        self.end_epoch = end_epoch
        self.end_iter = end_iter
        self.interval = interval
        self.interval_by_epoch = interval_by_epoch
        self.path: Dict[str, Any] = dict(
            start=start, end=end, order=order, policy=policy, monotone=monotone
        )
        self._backbones: List[DualResidualBackbone] = []
        self._averaged: List[DualResidualBackbone] = []
        # Report wrong arguments when the config is read, not when it trains. Training
        # begins with the schedule of the run in its place.
        self.schedule = self._make_schedule(iters_per_epoch=1)

    @property
    def needs_epochs(self) -> bool:
        """Whether the schedule depends on how long an epoch is."""
        return self.end_epoch is not None or self.interval_by_epoch

    def schedule_of_run(
        self, max_iters: int, iters_per_epoch: Optional[int] = None
    ) -> CoefficientSchedule:
        """Return the schedule of a run, in iterations.

        Args:
            max_iters: Iterations of the whole run.
            iters_per_epoch: Iterations of an epoch, ``None`` for a run that
                has no epochs.

        Raises:
            ValueError: If the end point lies beyond the run, or epochs are
                used and the run has none.
        """
        if iters_per_epoch is None and self.needs_epochs:
            epochs = (
                f'end_epoch={self.end_epoch}'
                if self.end_epoch is not None
                else f'interval={self.interval} with interval_by_epoch=True'
            )
            raise ValueError(
                f'Dr2CoefficientHook has {epochs}, but the run counts '
                f'{max_iters} iterations and no epochs; give end_iter (1 to '
                f'{max_iters}) and interval_by_epoch=False'
            )
        per_epoch = iters_per_epoch or 1
        schedule = self._make_schedule(per_epoch)
        if schedule.end_step > max_iters:
            if self.end_epoch is not None:
                given = f'end_epoch={self.end_epoch}'
                limit = f'{max_iters // per_epoch} epochs'
            else:
                given, limit = f'end_iter={self.end_iter}', f'{max_iters} iterations'
            raise ValueError(
                f'Dr2CoefficientHook has {given}, but the run ends after {limit}: '
                f'(alpha, beta) would never reach {schedule.end}; give an end '
                'point within the run, or train for longer'
            )
        return schedule

    def before_train(self, runner: Runner) -> None:
        """Check the schedule against the run, its other hooks and the model."""
        hooks = sum(isinstance(hook, Dr2CoefficientHook) for hook in runner.hooks)
        if hooks > 1:
            raise ValueError(
                f'the run has {hooks} hooks of type Dr2CoefficientHook, and the last '
                'one would decide; leave one in custom_hooks'
            )
        iters_per_epoch = (
            None
            if isinstance(runner.train_loop, IterBasedTrainLoop)
            else len(runner.train_dataloader)
        )
        if iters_per_epoch == 0:
            raise ValueError(
                'train_dataloader has no batch: the data set is empty, or smaller than '
                'batch_size with drop_last=True; look at ann_file, filter_cfg and '
                'batch_size'
            )
        self.schedule = self.schedule_of_run(runner.max_iters, iters_per_epoch)
        self._check_model(unwrapped(runner.model))
        self._check_resumed(runner)
        if self.schedule.end_step == runner.max_iters:
            print_log(
                f'Dr2CoefficientHook reaches its end point {self.schedule.end} '
                'only when the run ends: no iteration trains at it. Give an '
                'earlier end point for a network that has been trained there.',
                'current',
                level=logging.WARNING,
            )

    def after_train(self, runner: Runner) -> None:
        """Say so if the run has ended before the end point."""
        if runner.iter < self.schedule.end_step:
            values = self.schedule.coefficients(max(runner.iter - 1, 0))
            print_log(
                f'The run ends after iteration {runner.iter}, before (alpha, beta) is '
                f'{self.schedule.end} at iteration {self.schedule.end_step}: the '
                f'network is one of {values}, which its checkpoints hold.',
                'current',
                level=logging.WARNING,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Find the backbones, of the model and of every averaged copy of it."""
        # Not earlier: hooks may create their copies as late as before_train.
        self._backbones = list(
            dual_residual_backbones(unwrapped(runner.model)).values()
        )
        self._averaged = [
            backbone
            for copy in averaged_models(runner)
            for backbone in dual_residual_backbones(copy).values()
        ]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Set and log the coefficients of this iteration."""
        values = self.schedule.coefficients(runner.iter)
        for backbone in [*self._backbones, *self._averaged]:
            backbone.set_coefficients(*values)
        for name, value in zip(('alpha', 'beta'), values):
            # LogProcessor prints what begins with 'train/', without that prefix.
            runner.message_hub.update_scalar(f'train/dr2/{name}', value)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Report a stream that left the fixed-point range in this iteration.

        Raises:
            FixedPointOverflowError: If one did.
        """
        self._check_overflow()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep what an overflow has spoiled out of the checkpoint.

        Raises:
            FixedPointOverflowError: If a stream left the fixed-point range.
        """
        self._check_overflow()

    def _make_schedule(self, iters_per_epoch: int) -> CoefficientSchedule:
        # Checked as given, so that a message shows the user's own number.
        for name, value in (
            ('end_epoch', self.end_epoch),
            ('end_iter', self.end_iter),
            ('interval', self.interval),
        ):
            if value is not None:
                check_count(name, value)
        end_step = (self.end_epoch or 0) * iters_per_epoch + (self.end_iter or 0)
        interval = self.interval * (iters_per_epoch if self.interval_by_epoch else 1)
        return CoefficientSchedule(end_step=end_step, interval=interval, **self.path)

    def _check_model(self, model: nn.Module) -> None:
        backbones = dual_residual_backbones(model)
        if not backbones:
            raise ValueError(
                f'Dr2CoefficientHook finds no dual-residual backbone in '
                f'{type(model).__name__}; give the model one, for example '
                "model = dict(backbone=dict(type='Dr2SwinTransformer')), or "
                'remove the hook from custom_hooks'
            )
        for name, backbone in backbones.items():
            for point in ('start', 'end'):
                beta = getattr(self.schedule, point)[1]
                try:
                    backbone.dual_residual_options.check_reversible(beta)
                except ValueError as error:
                    raise ValueError(
                        f'{point} of Dr2CoefficientHook does not fit '
                        f'{name or type(backbone).__name__}: {error}'
                    ) from None

    def _check_resumed(self, runner: Runner) -> None:
        """Raise if a resumed run would move the coefficients backwards."""
        if not runner.iter or not self.path['monotone']:
            return
        alpha, beta = self.schedule.coefficients(runner.iter)
        for name, backbone in dual_residual_backbones(unwrapped(runner.model)).items():
            before = (backbone.alpha, backbone.beta)
            # Checkpoints of float32 weights may have rounded them.
            if alpha <= before[0] + 1e-6 and beta >= before[1] - 1e-6:
                continue
            raise ValueError(
                f'Dr2CoefficientHook would set (alpha, beta) of '
                f'{name or type(backbone).__name__} back from {before} in the '
                f'checkpoint to {(alpha, beta)} at iteration {runner.iter}, against '
                'monotone=True: its end point or path was changed. Resume with those '
                'of the run, or set monotone=False, or begin a new run with load_from '
                f'and start={before}'
            )

    def _check_overflow(self) -> None:
        for backbone in self._backbones:
            backbone.check_overflow()
