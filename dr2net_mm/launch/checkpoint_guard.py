"""Does a checkpoint belong to the model that is about to load it?

MMEngine loads whatever keys and shapes agree and prints the others, so a checkpoint of
another architecture trains or tests a network of random weights. The guard compares
names and shapes first.
"""

import re
from typing import Dict, List, Mapping, NamedTuple, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from dr2net_mm.errors import UserError

Shape = Tuple[int, ...]

# The coefficients of our backbones, absent from every conventional checkpoint, and a
# counter that MMEngine ignores too.
_OPTIONAL_KEYS = re.compile(r'(^|\.)(dual_residual\.(alpha|beta)|num_batches_tracked)$')

PURPOSES = ('finetune', 'resume', 'test')


class Comparison(NamedTuple):
    """Names in a model and not in a checkpoint, and shapes that differ."""

    matched: List[str]
    missing: List[str]
    mismatched: List[Tuple[str, Shape, Shape]]

    @property
    def total(self) -> int:
        """Number of the model's tensors that were looked for."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    def below(self, prefix: str) -> 'Comparison':
        """The part of the comparison whose names start with ``prefix``."""
        return Comparison(
            [name for name in self.matched if name.startswith(prefix)],
            [name for name in self.missing if name.startswith(prefix)],
            [entry for entry in self.mismatched if entry[0].startswith(prefix)],
        )


def _unwrapped(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _shapes(state_dict: Mapping) -> Dict[str, Shape]:
    return {
        re.sub(r'^module\.', '', name): tuple(value.shape)
        for name, value in state_dict.items()
        if torch.is_tensor(value) and not _OPTIONAL_KEYS.search(name)
    }


def compare(model: nn.Module, state_dict: Mapping) -> Comparison:
    """Compare the names and shapes of a model's tensors with a checkpoint's."""
    wanted, found = _shapes(_unwrapped(model).state_dict()), _shapes(state_dict)
    return Comparison(
        [name for name in wanted if wanted[name] == found.get(name)],
        [name for name in wanted if name not in found],
        [
            (name, found[name], wanted[name])
            for name in wanted
            if name in found and found[name] != wanted[name]
        ],
    )


def _mismatch(entry: Tuple[str, Shape, Shape]) -> str:
    name, found, wanted = entry
    return f'{name} is {found} in the checkpoint and {wanted} in the model'


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
    whole = compare(model, state_dict)
    prefix = 'backbone.' if hasattr(_unwrapped(model), 'backbone') else ''
    backbone = whole.below(prefix)
    advice = 'use the config that the checkpoint was trained with'
    if backbone.total and len(backbone.matched) < 0.5 * backbone.total:
        names = set(_shapes(state_dict))
        bare = sum(name[len(prefix) :] in names for name in backbone.missing)
        if prefix and bare > 0.5 * backbone.total:
            raise UserError(
                f'checkpoint {source!r} holds a bare backbone; give it as '
                "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...) "
                'instead of load_from'
            )
        example = (
            _mismatch(backbone.mismatched[0])
            if backbone.mismatched
            else f'it has no {backbone.missing[0]}'
        )
        raise UserError(
            f'checkpoint {source!r} is of another architecture: '
            f'{len(backbone.matched)} of {backbone.total} backbone tensors agree '
            f'({example}); {advice}'
        )
    strict = backbone if purpose == 'finetune' else whole
    if strict.mismatched:
        raise UserError(
            f'checkpoint {source!r} does not fit the model: '
            f'{_mismatch(strict.mismatched[0])} ({len(strict.mismatched)} such '
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

    def after_load_checkpoint(self, runner: object, checkpoint: dict) -> None:
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
