"""Refuse checkpoints that do not belong to the model that is about to load them.

MMEngine loads whatever keys and shapes agree and prints the others, so a checkpoint of
another architecture trains or tests a network of random weights. The guard compares
names and shapes first.
"""

from typing import Mapping

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.base.fit import compare, layout, shapes
from dr2net_mm.backbones.base.pretrained import guarded_loading, pretrained_source
from dr2net_mm.engine.model_wrappers import unwrapped
from dr2net_mm.engine.runner.resumable_loop import VALIDATED_INFO
from dr2net_mm.errors import UserError

from .resumed_config import changed_keys, describe_changes

PURPOSES = ('finetune', 'resume', 'test')


def check_fits(
    model: nn.Module, state_dict: Mapping, source: str, purpose: str
) -> None:
    """Raise unless a checkpoint belongs to the model, as far as its purpose needs.

    The backbone must agree for any purpose. A head may differ when finetuning (another
    number of classes); for a test its shapes must agree, and to resume all names too.

    Args:
        model: the model of the config.
        state_dict: weights of the checkpoint.
        source: the checkpoint's path, for the message.
        purpose: one of ``PURPOSES``.

    Raises:
        UserError: with the first difference and what to do.
    """
    model = unwrapped(model)
    whole = compare(model.state_dict(), state_dict)
    prefix = 'backbone.' if hasattr(model, 'backbone') else ''
    backbone = whole.below(prefix)
    advice = 'use the config that the checkpoint was trained with'
    if backbone.total and len(backbone.matched) < 0.5 * backbone.total:
        names = set(shapes(state_dict))
        bare = sum(name[len(prefix) :] in names for name in backbone.missing)
        if prefix and bare > 0.5 * backbone.total:
            raise UserError(
                f'checkpoint {source!r} holds a bare backbone; give it as '
                "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...) "
                'instead of load_from'
            )
        raise UserError(
            f'checkpoint {source!r} is of another architecture: '
            f'{len(backbone.matched)} of {backbone.total} backbone tensors agree '
            f'({backbone.example()}); it is {layout(names)}; {advice}'
        )
    strict = backbone if purpose == 'finetune' else whole
    if strict.mismatched:
        raise UserError(
            f'checkpoint {source!r} does not fit the model: '
            f'{strict.example()} ({len(strict.mismatched)} such '
            f'tensors); {advice}'
        )
    if purpose == 'test' and len(whole.missing) > 0.1 * whole.total:
        raise UserError(
            f'checkpoint {source!r} lacks {len(whole.missing)} of the {whole.total} '
            f'tensors of the model, e.g. {whole.missing[0]}; {advice}'
        )
    if purpose == 'resume' and whole.missing:
        raise UserError(
            f'checkpoint {source!r} cannot be resumed: it has no {whole.missing[0]} '
            f'({len(whole.missing)} such tensors); {advice}, or start a new run from '
            'it with --cfg-options load_from=...'
        )


def guard_pretrained(model: nn.Module) -> None:
    """Let conventional parts of a model too refuse files that do not fit.

    Our own backbones do so wherever they are built.
    """
    for module in model.modules():
        own = isinstance(module, DualResidualBackbone)
        if own or pretrained_source(module) is None:
            continue

        def init_weights(module: nn.Module = module) -> None:
            # MMEngine asks the module itself whether it is done.
            del module.init_weights
            with guarded_loading(module):
                module.init_weights()

        if hasattr(module, 'init_weights'):
            module.init_weights = init_weights


def check_unfinished(runner: Runner, checkpoint: dict, source: str) -> None:
    """Raise if a checkpoint leaves a run nothing to do.

    A validation may be left: checkpoints are saved before it.

    Raises:
        UserError: With what is done and what the config asks for.
    """
    loop, meta = runner.train_loop, checkpoint['meta']
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    unit, key = ('epochs', 'max_epochs') if by_epoch else ('iterations', 'max_iters')
    done, wanted = meta['epoch' if by_epoch else 'iter'], getattr(loop, key)
    known = checkpoint['message_hub'].get('runtime_info') or {}
    validated = known.get(VALIDATED_INFO) == meta['iter']
    makes_up = hasattr(loop, '_validate_if_due') and runner.val_loop is not None
    if done > wanted or (done == wanted and (validated or not makes_up)):
        raise UserError(
            f'--resume: checkpoint {source!r} has trained {done} {unit}, and '
            f'train_cfg.{key}={wanted}: nothing is left to do. Raise train_cfg.{key}, '
            'or test the checkpoint with tools/test.py'
        )


class CheckpointGuard(Hook):
    """Refuse a checkpoint that does not belong to the model before it is loaded.

    Args:
        source: path shown in the message.
        purpose: 'finetune', 'resume' or 'test'.
    """

    # Before EMAHook swaps the averaged weights in.
    priority = 'VERY_HIGH'

    def __init__(self, source: str, purpose: str) -> None:
        if purpose not in PURPOSES:
            raise ValueError(f'purpose must be one of {PURPOSES}, got {purpose!r}')
        self.source = source
        self.purpose = purpose

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the loaded file with the runner's model."""
        if not isinstance(checkpoint, dict):
            raise UserError(
                f'checkpoint {self.source!r} holds a {type(checkpoint).__name__}, '
                'not a dictionary of weights'
            )
        if self.purpose == 'resume' and not {'meta', 'message_hub'} <= set(checkpoint):
            raise UserError(
                f'checkpoint {self.source!r} holds weights only and cannot be resumed; '
                'start a new run from it with --cfg-options load_from=...'
            )
        state_dict = checkpoint.get('state_dict', checkpoint)
        check_fits(runner.model, state_dict, self.source, self.purpose)
        if self.purpose == 'resume':
            check_unfinished(runner, checkpoint, self.source)
            text = checkpoint['meta'].get('cfg')
            if isinstance(text, str):
                changes = describe_changes(changed_keys(text, runner.cfg))
                if changes:
                    runner.logger.warning(f'--resume: {changes}.')
