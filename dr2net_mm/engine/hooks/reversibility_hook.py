"""Measures, while a network trains, how exactly it is reversed."""

import contextlib
import logging
import math
from typing import Dict, List, NamedTuple, Optional

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from dr2net_mm.backbones.base.dual_residual import (
    DualResidualBackbone,
    dual_residual_backbones,
)
from dr2net_mm.backbones.base.wrapping import is_sharded
from dr2net_mm.engine.model_wrappers import unwrapped
from dr2net_mm.engine.reversibility import SampleTaker, measure
from dr2net_mm.reversible import FixedPointOverflowError, ReconstructionError
from dr2net_mm.reversible.schedule import check_count

#: Iterations that may go by until one has finite gradients: dynamic loss scaling skips
#: the first of a run.
ATTEMPTS = 20

#: Stands for an error that no rank measured; errors are not negative.
NOT_MEASURED = -1.0

FLOAT_ADVICE = (
    "Set dual_residual=dict(arithmetic='exact') in the backbone, which has no such "
    'error; or train where floating point is more exact, with a smaller alpha '
    'and a larger beta, such as (0.3, 0.7). tools/analysis/gradient_error.py shows the '
    'error at every pair.'
)
EXACT_ADVICE = (
    "With arithmetic='exact' there is no error unless a branch gives other bits the "
    'second time: dual_residual=dict(verify=True) names the branch, and '
    'randomness=dict(seed=0, deterministic=True) asks for deterministic kernels.'
)


class Place(NamedTuple):
    """Place of a measured error: a stage, or the gradients of a backbone."""

    backbone: str
    stage: Optional[str]


@HOOKS.register_module()
class ReversibilityHook(Hook):
    """Hook that compares the reversible backward pass with the exact one.

    Every ``interval`` iterations, beginning with the first, it takes what the backbone
    was given for the first ``samples`` samples of the batch (inputs, gradients of the
    outputs, autocast) and, when the iteration is over, runs the backbone on them twice:
    reversibly, and with the true streams kept. It logs two numbers:

    - ``dr2/gradient_error``: ``|g - r| / |r|`` of the gradients of the backbone's
      parameters;
    - ``dr2/reconstruction_error``: ``|x̂ - x| / |x|`` of the input of a stage, the
      largest over the stages.

    Both are 0 with ``arithmetic='exact'`` wherever kernels are deterministic. With
    ``arithmetic='float'`` they grow with the depth, with alpha and with 1 / beta.

    Training is left as it is: random numbers, gradients, buffers, weights and logged
    losses are the same with the hook and without it. At one sample a measurement takes
    about as long as two or three iterations of the backbone at batch size 1, so that
    with the default interval it can stay on. It needs memory for two sets of the
    backbone's gradients and for the streams of every branch at ``samples`` samples, at
    a time when nothing else of an iteration is there.

    In a distributed run each rank measures on its own samples, without talking to the
    others, and all log, and act on, the largest error.

    Args:
        interval: Iterations between two measurements.
        samples: Samples of the batch that are measured on.
        warn_above: The error beyond which a warning says what to do; None for none.
        stop_above: The error beyond which the run stops; None for none.

    Raises:
        TypeError: If an argument is not of the kind described.
        ValueError: If an argument is outside its range; before training, if the model
            has no dual-residual backbone or its parameters are sharded.
        ReconstructionError: On every rank, if an error exceeds ``stop_above``.

    Examples:
        >>> custom_hooks = [dict(type='ReversibilityHook', interval=500)]
    """

    # Before LoggerHook, which prints the numbers.
    priority = 'NORMAL'

    def __init__(
        self,
        interval: int = 500,
        samples: int = 1,
        warn_above: Optional[float] = 1e-3,
        stop_above: Optional[float] = None,
    ) -> None:
        check_count('interval of ReversibilityHook', interval)
        check_count('samples of ReversibilityHook', samples)
        for name, bound in (('warn_above', warn_above), ('stop_above', stop_above)):
            _check_bound(name, bound)
        self.interval = interval
        self.samples = samples
        self.warn_above = warn_above
        self.stop_above = stop_above
        self._backbones: Dict[str, DualResidualBackbone] = {}
        self._takers: Dict[str, SampleTaker] = {}
        self._places: List[Place] = []
        self._attempts = 0

    def before_train(self, runner: Runner) -> None:
        """Find the reversible backbones and watch what they are given."""
        model = unwrapped(runner.model)
        backbones = dual_residual_backbones(model)
        if not backbones:
            raise ValueError(
                'ReversibilityHook finds no dual-residual backbone in '
                f'{type(model).__name__}; give the model one, for example '
                "model = dict(backbone=dict(type='Dr2SwinTransformer')), or remove "
                'the hook from custom_hooks'
            )
        if is_sharded(runner.model):
            raise ValueError(
                'ReversibilityHook cannot measure a model whose parameters are '
                'sharded; measure it with MMDistributedDataParallel or on one device, '
                'and remove the hook from custom_hooks here'
            )
        self._backbones = {
            name or type(backbone).__name__: backbone
            for name, backbone in backbones.items()
            if backbone.dual_residual_options.backprop == 'reversible'
            and any(parameter.requires_grad for parameter in backbone.parameters())
        }
        self._takers = {
            name: SampleTaker(backbone, self.samples)
            for name, backbone in self._backbones.items()
        }
        self._places = [
            Place(name, stage)
            for name, backbone in self._backbones.items()
            for stage in (None, *backbone.stage_names)
        ]
        if not self._backbones:
            print_log(
                'ReversibilityHook has nothing to measure: no dual-residual backbone '
                "is trained with backprop='reversible'",
                'current',
            )
        # A resumed run may be on another machine: measure in its first iteration.
        self._attempts = ATTEMPTS if self._backbones else 0

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Take a sample from this iteration if it is time to measure."""
        if self._backbones and runner.iter % self.interval == 0:
            self._attempts = ATTEMPTS
        if self._attempts:
            for taker in self._takers.values():
                taker.start()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Measure, log, and warn or stop.

        Raises:
            ReconstructionError: If an error exceeds ``stop_above``.
        """
        if not self._attempts:
            return
        self._attempts -= 1
        errors = self._largest_errors()
        if max(errors) == NOT_MEASURED:
            return
        self._attempts = 0
        for kind, of_a_stage in (('gradient', False), ('reconstruction', True)):
            largest = max(
                error
                for place, error in zip(self._places, errors)
                if (place.stage is not None) == of_a_stage
            )
            # LogProcessor prints what begins with 'train/', without that prefix.
            runner.message_hub.update_scalar(f'train/dr2/{kind}_error', largest)
        if self.stop_above is not None and max(errors) > self.stop_above:
            raise ReconstructionError(self._message(runner, errors, 'stop_above'))
        if self.warn_above is not None and max(errors) > self.warn_above:
            message = self._message(runner, errors, 'warn_above')
            print_log(message, 'current', level=logging.WARNING)

    def after_train(self, runner: Runner) -> None:
        """Leave the backbones as they were."""
        for taker in self._takers.values():
            taker.remove()
        self._takers, self._backbones = {}, {}

    def _largest_errors(self) -> List[float]:
        """Return the largest error of any rank at each place, infinite for NaN."""
        errors: List[float] = []
        for name, backbone in self._backbones.items():
            sample = self._takers[name].taken()
            found = None
            if sample is not None:
                # An overflow is reported where training meets it.
                with contextlib.suppress(FixedPointOverflowError):
                    found = measure(backbone, sample)
            if found is None:
                errors += [NOT_MEASURED] * (1 + len(backbone.stage_names))
            else:
                errors.append(found.gradient)
                for stage in backbone.stage_names:
                    errors.append(found.reconstruction.get(stage, NOT_MEASURED))
        largest = torch.tensor(
            [math.inf if math.isnan(error) else error for error in errors],
            dtype=torch.float64,
        )
        all_reduce(largest, op='max')
        return largest.tolist()

    def _message(self, runner: Runner, errors: List[float], bound: str) -> str:
        """Describe what exceeds a bound, where, and what to do about it."""
        worst = max(range(len(errors)), key=errors.__getitem__)
        name = self._places[worst].backbone
        backbone = self._backbones[name]
        parts = []
        for place, error in zip(self._places, errors):
            if place.backbone != name or error == NOT_MEASURED:
                continue
            if place.stage is None:
                parts.append(f'the gradients are off by {error:.2g}')
            else:
                parts.append(f'the input of {place.stage} by {error:.2g}')
        exact = backbone.dual_residual_options.arithmetic == 'exact'
        return (
            f'ReversibilityHook: in iteration {runner.iter + 1}, at (alpha, beta) = '
            f'({backbone.alpha:g}, {backbone.beta:g}), {name} is not reversed within '
            f'{bound}={getattr(self, bound):g} (relative errors): {", ".join(parts)}. '
            + (EXACT_ADVICE if exact else FLOAT_ADVICE)
        )


def _check_bound(name: str, bound: Optional[float]) -> None:
    if bound is None:
        return
    if isinstance(bound, bool) or not isinstance(bound, (int, float)):
        raise TypeError(
            f'{name} of ReversibilityHook must be a number or None, got {bound!r}'
        )
    if not bound >= 0:
        raise ValueError(
            f'{name} of ReversibilityHook must be at least 0, got {bound!r}; a '
            'relative error of 1e-3 is harmless'
        )
