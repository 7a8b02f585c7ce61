"""Reading the weights of other projects' checkpoint files, and writing ours."""

import argparse
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np
import torch
from torch import Tensor

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import UserError
from dr2net_mm.rank import launcher_rank

from .safe_load import UnsafeCheckpointError, load, name_refused

# Where training scripts keep the weights within a checkpoint.
_NESTED = ('state_dict', 'model', 'module', 'model_state', 'model_state_dict')


def is_local(path: str) -> bool:
    """Return whether a path is a local file rather than a URL or a scheme."""
    return '://' not in path and not path.startswith('s3:')


def check_checkpoint_file(path: str, key: str) -> None:
    """Raise :class:`UserError` if a local checkpoint is missing or damaged.

    torch writes a zip archive, whose index is at the end, or before 1.6 a pickle. It
    does not look at the archive's checksums when it loads, so they are compared here,
    by rank 0.
    """
    if not is_local(path):
        return
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(f'checkpoint {path!r} ({key}) does not exist')
    with open(path, 'rb') as file:
        head = file.read(2)
    if head == b'PK' and not zipfile.is_zipfile(path):
        raise UserError(
            f'checkpoint {path!r} ({key}) is truncated: copy or download it again'
        )
    damaged = _damaged_entry(path) if head == b'PK' and launcher_rank() == 0 else None
    if damaged is not None:
        raise UserError(
            f'checkpoint {path!r} ({key}) is damaged: the checksum of its entry '
            f'{damaged!r} is wrong; copy or download it again, or take another one'
        )
    if head != b'PK' and head[:1] != b'\x80':
        raise UserError(f'checkpoint {path!r} ({key}) is not a PyTorch checkpoint')


def _damaged_entry(path: str) -> Optional[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        return str(error)


def read_weights(path: str) -> Dict[str, Tensor]:
    """Read the weights of a ``.pth``, ``.bin`` or ``.safetensors`` file.

    Only tensors and plain values are unpickled. A nested state dict is found under
    ``state_dict``, ``model`` or ``module``.

    Raises:
        UserError: If the file is missing, damaged, holds other objects or no weights.
    """
    if Path(path).suffix == '.safetensors' and Path(path).is_file():
        content: Any = _read_safetensors(path)
    else:
        check_checkpoint_file(path, 'the one to convert')
        content = _unpickle(path)
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise UserError(
            f'checkpoint {path!r} holds no dictionary of weights, at its top or under '
            f'{", ".join(_NESTED)}'
        )
    other = [name for name, value in content.items() if not torch.is_tensor(value)]
    if other:
        raise UserError(
            f'checkpoint {path!r} holds something else than weights: {other[0]!r} is '
            f'of type {type(content[other[0]]).__name__}; the weights were looked for '
            f'at its top and under {", ".join(_NESTED)}'
        )
    return dict(content)


def read_checkpoint(path: str) -> Dict[str, Any]:
    """Read everything in a checkpoint of an MMEngine run, weights on the CPU.

    Raises:
        UserError: If the file is missing, damaged, holds other objects, or has no
            ``state_dict`` of tensors.
    """
    check_checkpoint_file(path, 'the one to convert')
    content = _unpickle(path)
    weights = content.get('state_dict') if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise UserError(
            f'{path!r} is no checkpoint of a training run: it has no weights under '
            '"state_dict"; give a file that tools/train.py saved, such as epoch_12.pth'
        )
    other = [name for name, value in weights.items() if not torch.is_tensor(value)]
    if other:
        raise UserError(
            f'checkpoint {path!r} holds something else than a tensor in its '
            f'state_dict: {other[0]!r} is of type {type(weights[other[0]]).__name__}'
        )
    return dict(content)


def write_checkpoint(
    path: str, weights: Mapping[str, Tensor], key: str, meta: Mapping[str, Any]
) -> None:
    """Write a checkpoint, all or nothing.

    Args:
        path: The file.
        weights: Tensors by name.
        key: What they stand under: ``'state_dict'`` for MMEngine, ``'model'`` for
            VideoMAE.
        meta: Plain values to keep with them.
    """
    with atomic_open(path) as file:
        torch.save({'meta': dict(meta), key: dict(weights)}, file)


def plain_values(value: Any) -> Any:
    """Convert numbers and containers to plain Python ones, without numpy."""
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_values(item) for item in value)
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def check_paths(source: str, target: str) -> None:
    """Raise :class:`UserError` if the target is the source or a folder."""
    if Path(target).is_dir():
        raise UserError(f'{target!r} is a folder; give the name of the file to write')
    if Path(source).resolve() == Path(target).resolve():
        raise UserError(f'{target!r} is the checkpoint itself; give another name')


def _read_safetensors(path: str) -> Dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            f'{path!r} needs the package safetensors: pip install safetensors'
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f'checkpoint {path!r} is damaged ({error}): copy or download it again'
        ) from error


def _unpickle(path: str) -> Any:
    try:
        # VideoMAE's scripts save their command line with the weights.
        return load(path, 'cpu', more_classes=[argparse.Namespace])
    except UnsafeCheckpointError:
        raise
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError) as error:
        if 'GLOBAL' in str(error):
            raise name_refused(error, path) from error
        raise UserError(
            f'checkpoint {path!r} is damaged or not a PyTorch checkpoint '
            f'({_first_sentence(error)}): copy or download it again'
        ) from error


def _first_sentence(error: Exception) -> str:
    text = ' '.join(str(error).split())
    return text.split('. ')[0][:200] or type(error).__name__
