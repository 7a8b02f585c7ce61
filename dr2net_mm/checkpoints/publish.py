"""A checkpoint of a training run, made ready to be given to others."""

import hashlib
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import UserError
from dr2net_mm.version import __version__

from .checkpoint_file import plain_values, read_checkpoint
from .coefficients import coefficients_of
from .safe_load import load

#: The averaged weights, or those of the last iteration, of a run with an EMAHook.
WEIGHTS = ('averaged', 'last')

#: Digits of the SHA-256 in a file's name, as in MMDetection's model zoo.
HASH_DIGITS = 8

# An EMAHook keeps the network in a wrapper.
_AVERAGED_PREFIX = 'module.'

# Paths on the machine of the training run, and what only resuming needs.
_DROPPED_META = ('hook_msgs',)


class Published(NamedTuple):
    """A published checkpoint, and notes on it for its reader.

    Attributes:
        content: ``meta`` and ``state_dict``.
        notes: What was kept, chosen and dropped, a sentence each.
    """

    content: Dict[str, Any]
    notes: List[str]


def published(checkpoint: Mapping[str, Any], weights: str = 'averaged') -> Published:
    """Return the part of a checkpoint that a test, a finetuning or an export needs.

    MMEngine's ``EMAHook`` saves the averaged weights as ``state_dict``, and those of
    the last iteration as ``ema_state_dict``.

    Args:
        checkpoint: Content of a checkpoint file.
        weights: One of ``WEIGHTS``.

    Raises:
        UserError: If the weights of the last iteration are wanted and not there.
    """
    notes = []
    state_dict, averaging = checkpoint['state_dict'], 'ema_state_dict' in checkpoint
    if weights not in WEIGHTS:
        raise UserError(f'weights {weights!r} are unknown; choose one of {WEIGHTS}')
    if averaging and weights == 'last':
        state_dict = _last_weights(state_dict, checkpoint['ema_state_dict'])
        notes.append('weights: those of the last iteration, not their average')
    elif averaging:
        notes.append("weights: the average that the run's EMAHook kept")
    else:
        notes.append('weights: those of the last iteration (there is no average)')
    for name, (alpha, beta) in coefficients_of(state_dict).items():
        notes.append(f'{name}: alpha = {alpha}, beta = {beta}')
    meta = {
        key: value
        for key, value in (checkpoint.get('meta') or {}).items()
        if key not in _DROPPED_META
    }
    meta['dr2net_mm_version'] = __version__
    dropped = sorted(set(checkpoint) - {'meta', 'state_dict'})
    if dropped:
        notes.append(f'dropped: {", ".join(dropped)}')
    content = dict(meta=plain_values(meta), state_dict=_compact(state_dict))
    return Published(content, notes)


def publish_file(
    source: str, target: str, weights: str = 'averaged', force: bool = False
) -> Tuple[str, List[str]]:
    """Write what is published under a name with its hash.

    Args:
        source: Checkpoint of a training run.
        target: Name to give the result; ``model.pth`` becomes
            ``model-<first digits of its SHA-256>.pth``.
        weights: One of ``WEIGHTS``.
        force: Whether to replace a file of that name.

    Returns:
        The path written, and notes for the user.

    Raises:
        UserError: If the source is no checkpoint, or there is such a file.
    """
    if os.path.isdir(target):
        raise UserError(f'{target!r} is a folder; give the name of the file to write')
    content, notes = published(read_checkpoint(source), weights)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()[:HASH_DIGITS]
    stem = target[: -len('.pth')] if target.endswith('.pth') else target
    path = f'{stem}-{digest}.pth'
    if os.path.exists(path) and not force:
        raise UserError(f'{path!r} exists; replace it with --force, or name another')
    with atomic_open(path) as file:
        file.write(buffer.getbuffer())
    _check_readable(path, content['state_dict'])
    before, after = os.path.getsize(source), Path(path).stat().st_size
    notes.append(
        f'size: {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after'
    )
    return path, notes


def _last_weights(
    averaged: Mapping[str, Tensor], kept: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    """Return the weights of the last iteration, in the order of the averaged ones.

    Raises:
        UserError: If one is missing.
    """
    missing = [name for name in averaged if _AVERAGED_PREFIX + name not in kept]
    if missing:
        raise UserError(
            f'the ema_state_dict of the checkpoint has no {_AVERAGED_PREFIX}'
            f'{missing[0]} ({len(missing)} such tensors); publish the average: '
            '--weights averaged'
        )
    last = OrderedDict((name, kept[_AVERAGED_PREFIX + name]) for name in averaged)
    return _with_metadata(last, averaged)


def _compact(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Copy tensors that are a part of a larger storage out of it."""
    compact = OrderedDict()
    for name, value in state_dict.items():
        stored = value.untyped_storage().nbytes()
        whole = stored == value.numel() * value.element_size()
        compact[name] = value if whole else value.clone()
    return _with_metadata(compact, state_dict)


def _with_metadata(
    state_dict: 'OrderedDict[str, Tensor]', like: Mapping[str, Tensor]
) -> 'OrderedDict[str, Tensor]':
    """Add the versions of the modules, by which layers convert old weights."""
    if hasattr(like, '_metadata'):
        state_dict._metadata = like._metadata  # type: ignore[attr-defined]
    return state_dict


def _check_readable(path: str, expected: Mapping[str, Tensor]) -> None:
    """Raise unless a file gives back its weights to the bit."""
    found = load(path, 'cpu')['state_dict']
    same = list(found) == list(expected) and all(
        found[name].dtype == value.dtype
        and found[name].equal(value.cpu())
        # NaN, which differs from itself, is published as it is.
        or bool(torch.isnan(value).any())
        for name, value in expected.items()
    )
    if not same:
        raise UserError(
            f'{path!r} does not hold what was written to it: look at the disk'
        )
