"""Stop training on a non-finite loss, before a non-finite checkpoint is saved."""

import math
from typing import Dict, Optional

import torch
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from dr2net_mm.errors import NonFiniteError


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Hook that stops training when the loss is NaN or infinite.

    From then on every weight is NaN, and with ``max_keep_ckpts`` the checkpoints from
    before are soon gone. No checkpoint with such a weight is written either, whichever
    rank had the loss. MMEngine has read the loss already, to log it, so that this
    costs no time on a device.

    Mixed precision with a loss scale skips such an iteration and continues.

    Args:
        patience: Iterations in a row that may have such a loss where a loss scale
            skips them. Elsewhere the first one stops the run.

    Raises:
        NonFiniteError: Naming the iteration and the losses, or the first such weight
            of a checkpoint.
        ValueError: If ``patience`` is below 1.
    """

    # Before EMAHook takes the weights into its average.
    priority = 'HIGH'

    def __init__(self, patience: int = 20) -> None:
        if not isinstance(patience, int) or patience < 1:
            raise ValueError(
                'patience of FiniteLossHook must be a number of iterations from 1, '
                f'got {patience!r}'
            )
        self.patience = patience
        self._in_a_row = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Look at the losses of the iteration."""
        wrong = _not_finite(outputs or {})
        self._in_a_row = self._in_a_row + 1 if wrong else 0
        scaled = getattr(runner.optim_wrapper, 'loss_scaler', None) is not None
        if self._in_a_row < (self.patience if scaled else 1):
            return
        values = ', '.join(f'{name}={value}' for name, value in wrong.items())
        raise NonFiniteError(
            f'{values} in iteration {runner.iter + 1}'
            + (f', for the {self._in_a_row}th time in a row' if scaled else '')
            + '; checkpoints stay those of before. Lower the learning rate, clip '
            'gradients (optim_wrapper.clip_grad=dict(max_norm=0.1)), or look for '
            'wrong annotations, then go on with --resume'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at the weights that are about to be written."""
        for name, value in checkpoint['state_dict'].items():
            if name.rsplit('.', 1)[-1] in ('weight', 'bias'):
                if not torch.isfinite(value).all():
                    raise NonFiniteError(
                        f'{name} has values that are NaN or infinite after iteration '
                        f'{runner.iter + 1}; the checkpoint is not written'
                    )


def _not_finite(outputs: dict) -> Dict[str, float]:
    """Return the losses that are NaN or infinite, by name."""
    total = outputs.get('loss')
    # The sum of the others tells enough: each value read from a device takes time.
    if torch.is_tensor(total) and math.isfinite(total.detach().mean()):
        return {}
    losses = {
        name: float(value)
        for name, value in outputs.items()
        if 'loss' in name and torch.is_tensor(value) and value.numel() == 1
    }
    return {name: value for name, value in losses.items() if not math.isfinite(value)}
