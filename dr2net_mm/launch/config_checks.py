"""Checks of a config that need no model, no data and no GPU, so they come first."""

import difflib
import inspect
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from mmengine.config import Config
from mmengine.runner import Runner

from dr2net_mm.checkpoints.checkpoint_file import check_checkpoint_file, is_local
from dr2net_mm.errors import UserError

# Top-level keys that Runner.from_cfg and the MM tools read and a config may omit.
_RUNNER_KEYS = {
    *inspect.signature(Runner.__init__).parameters,
    'backend_args',
    'check_data',
    'compile',
    'custom_imports',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
    'vis_backends',
} - {'self'}


def apply_options(cfg: Config, options: Dict[str, Any]) -> None:
    """Merge ``--cfg-options`` into a config.

    Raises:
        UserError: for a top-level key that neither the config nor the Runner knows, and
            for a path that does not fit the config.
    """
    known = set(cfg.keys()) | _RUNNER_KEYS
    for key in options:
        top = key.split('.')[0]
        if top in known:
            continue
        near = difflib.get_close_matches(top, sorted(known), n=1)
        hint = f'did you mean {near[0]!r}?' if near else 'see --help for an example'
        raise UserError(f'--cfg-options {key}: the config has no key {top!r}; {hint}')
    try:
        cfg.merge_from_dict(options)
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise UserError(
            f'--cfg-options {" ".join(options)} does not fit the config: {reason}'
        ) from error


def datasets_in(dataset: Any) -> Iterator[dict]:
    """Return the datasets inside wrappers such as RepeatDataset and ConcatDataset."""
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from datasets_in(item)
    elif isinstance(dataset, dict):
        yield dataset
        yield from datasets_in(dataset.get('dataset'))
        yield from datasets_in(dataset.get('datasets'))


def is_remote(dataset: dict) -> bool:
    """Return whether a dataset reads its files from another place than disk."""
    loaders = [dataset] + [
        step for step in dataset.get('pipeline') or [] if isinstance(step, dict)
    ]
    for loader in loaders:
        backend = loader.get('backend_args') or loader.get('file_client_args') or {}
        if backend.get('backend', backend.get('io_backend', 'local')) not in (
            'local',
            'disk',
        ):
            return True
        if loader.get('io_backend', 'disk') not in ('local', 'disk'):
            return True
    return False


def joined(root: str, path: str) -> str:
    """Join a data root and a path, unless the path stands alone."""
    if os.path.isabs(path) or not root or not is_local(path):
        return path
    return os.path.join(root, path)


def dataset_paths(cfg: Config, mode: str) -> List[Tuple[str, str, bool]]:
    """Return the local paths that the ``train``, ``val`` or ``test`` data needs.

    Returns:
        Tuples of the config key, the path, and whether it must be a folder.
    """
    paths = []
    loaders = cfg.get(f'{mode}_dataloader') or {}
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        for dataset in datasets_in(loader.get('dataset')):
            if is_remote(dataset):
                continue
            where = f'{mode}_dataloader.dataset'
            root = dataset.get('data_root') or ''
            for key in ('ann_file', 'proposal_file', 'label_map_file'):
                if isinstance(dataset.get(key), str) and dataset[key]:
                    path = joined(root, dataset[key])
                    paths.append((f'{where}.{key}', path, False))
            prefixes = dataset.get('data_prefix')
            for key, prefix in (prefixes or {}).items():
                # An empty prefix means that annotations hold whole paths.
                if isinstance(prefix, str) and joined(root, prefix):
                    path = joined(root, prefix)
                    paths.append((f'{where}.data_prefix.{key}', path, True))
    evaluators = cfg.get(f'{mode}_evaluator') or []
    for metric in evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]:
        if isinstance(metric, dict) and isinstance(metric.get('ann_file'), str):
            paths.append((f'{mode}_evaluator.ann_file', metric['ann_file'], False))
    return [entry for entry in paths if is_local(entry[1])]


def check_dataset_paths(cfg: Config, modes: Tuple[str, ...]) -> None:
    """Raise :class:`UserError` for the first missing annotation file or data folder."""
    for mode in modes:
        for key, path, is_folder in dataset_paths(cfg, mode):
            exists = os.path.isdir(path) if is_folder else os.path.isfile(path)
            if exists:
                continue
            if os.path.exists(path):
                wanted = 'a folder' if is_folder else 'a file'
                raise UserError(f'{key}={path!r} is not {wanted}')
            kind = 'data folder' if is_folder else 'annotation file'
            raise UserError(
                f'{kind} {path!r} ({key}) does not exist; download the data there, or '
                f'set {mode}_dataloader.dataset.data_root'
            )


def _pretrained_checkpoints(node: Any, path: str) -> Iterator[Tuple[str, str]]:
    if isinstance(node, dict):
        if node.get('type') == 'Pretrained' and isinstance(node.get('checkpoint'), str):
            yield f'{path}.checkpoint', node['checkpoint']
        for key, value in node.items():
            yield from _pretrained_checkpoints(value, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _pretrained_checkpoints(value, f'{path}[{index}]')


def check_pretrained_files(cfg: Config) -> None:
    """Raise :class:`UserError` if a ``Pretrained`` initialization names no file."""
    for key, path in _pretrained_checkpoints(cfg.get('model'), 'model'):
        check_checkpoint_file(path, key)
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    if not isinstance(backbone, dict) or not backbone.get('pretrained'):
        return
    kind = backbone.get('type')
    name = getattr(kind, '__name__', str(kind))
    ours = getattr(kind, '__module__', '').startswith('dr2net_mm')
    # mmaction's ViT overwrites what it makes of the argument.
    scope = 'mmaction' if isinstance(kind, type) else cfg.get('default_scope')
    if not ours and f'{scope}.{name}'.endswith('mmaction.VisionTransformer'):
        raise UserError(
            f'model.backbone.pretrained={backbone["pretrained"]!r} is forgotten by '
            "mmaction's VisionTransformer, which would begin from random weights; "
            "write init_cfg=dict(type='Pretrained', checkpoint=...) in its place"
        )


def check_work_dir(path: str) -> None:
    """Raise :class:`UserError` unless files can be written below ``path``.

    Creates nothing: the nearest existing parent is tested.
    """
    folder = Path(path).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(f'work dir {path!r}: {str(folder)!r} is a file, not a folder')
    if not os.access(str(folder), os.W_OK | os.X_OK):
        raise UserError(
            f'work dir {path!r} is not writable (checked {str(folder)!r}); give '
            'another with --work-dir'
        )
