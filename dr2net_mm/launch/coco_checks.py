"""Check of the COCO-format files of a config before a run.

``check_data=False`` in the config leaves the check out. Results for large files are
kept in ``$XDG_CACHE_HOME/dr2net_mm`` (``~/.cache``) until the file or its use changes.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config

from dr2net_mm.atomic_file import atomic_open
from dr2net_mm.errors import DataFileError
from dr2net_mm.launch.config_checks import datasets_in, is_local, is_remote, joined
from dr2net_mm.optional_imports import usable
from dr2net_mm.rank import launcher_rank
from dr2net_mm.tasks.detection.datasets.coco_check import (
    CocoReport,
    check_coco_file,
    evenly,
)
from dr2net_mm.tasks.detection.datasets.coco_findings import CocoUse, Entry, Finding
from dr2net_mm.tasks.detection.datasets.coco_images import Loader, check_images

# Image files of a set that are opened before a run.
SAMPLED_IMAGES = 1000
# Smaller files are checked in less time than it takes to be sure of a result.
CACHED_BYTES = 4 * 2**20
# Raised whenever a check changes.
_VERSION = 1
_HEADS = ('bbox_head', 'mask_head', 'query_head')


class CocoFile(NamedTuple):
    """A file of a config: where it stands there, its use, and its images if any."""

    key: str
    path: str
    use: CocoUse
    folder: Optional[str] = None
    loader: Loader = Loader()


def check_coco_datasets(cfg: Config, modes: Sequence[str]) -> None:
    """Check every COCO-format data set of some modes; rank 0 does it.

    What is left out, and how many images were looked at, is printed once a file.

    Args:
        cfg: Config of a run.
        modes: Of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        DataFileError: For the first file with an error.
    """
    if not cfg.get('check_data', True) or launcher_rank() != 0:
        return
    known: List[Tuple[CocoFile, Tuple[str, ...]]] = []
    for file in coco_files(cfg, modes):
        report = cached_report(file)
        looked_at = evenly(report.images, SAMPLED_IMAGES)
        findings = list(report.findings)
        if file.folder is not None and not report.errors:
            findings += check_images(looked_at, file.folder, file.loader, file.path)
            if len(looked_at) < len(report.images):
                print(
                    f'{file.path}: {len(looked_at)} of {len(report.images)} image '
                    'files looked at; tools/data/check_coco.py looks at all',
                    flush=True,
                )
        for finding in findings:
            if not finding.is_error:
                print(f'{file.key}: {finding.message}', flush=True)
        _raise_first(file, [f for f in findings if f.is_error])
        for other, labels in known:
            _compare(file, report.labels, other, labels)
        known.append((file, report.labels))


def coco_files(cfg: Config, modes: Sequence[str]) -> List[CocoFile]:
    """Return the COCO-format files of a config, inside wrappers too, each use once."""
    found: Dict[tuple, CocoFile] = {}
    for mode in modes:
        loaders = cfg.get(f'{mode}_dataloader') or {}
        classes: Any = None
        for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
            for dataset in datasets_in(loader.get('dataset')):
                file = _file_of(cfg, mode, dataset)
                if file is None:
                    continue
                classes = classes or file.use
                found.setdefault((os.path.realpath(file.path), file.use), file)
        if classes is None:
            continue
        for path in _metric_files(cfg, mode):
            real = os.path.realpath(path)
            same = [key for key in found if key[0] == real and not key[1].trained]
            files = [found.pop(key) for key in same]
            if not files:
                files = [CocoFile(f'{mode}_evaluator.ann_file', path, classes)]
            for file in files:
                # Data sets of one file keep the classes that each gives it.
                use = file.use._replace(
                    trained=False, evaluated=True, needs_boxes=False
                )
                found.setdefault((real, use), file._replace(use=use))
    return list(found.values())


def _dataset_class(cfg: Config, name: Any) -> Any:
    """Return the class of a data set that reads as mmdet's ``CocoDataset`` does."""
    in_scope = cfg.get('default_scope') == 'mmdet' or str(name).startswith('mmdet.')
    # A config in Python's own syntax gives the class and needs no scope.
    if not in_scope and not isinstance(name, type):
        return None
    if not usable('mmdet.datasets'):
        return None
    from mmdet.datasets import CocoDataset
    from mmdet.registry import DATASETS

    cls = name if isinstance(name, type) else DATASETS.get(str(name))
    if not isinstance(cls, type) or not issubclass(cls, CocoDataset):
        return None
    inherited = ('load_data_list', 'parse_data_info', 'COCOAPI')
    if any(getattr(cls, name) is not getattr(CocoDataset, name) for name in inherited):
        return None
    return cls


def _file_of(cfg: Config, mode: str, dataset: dict) -> Optional[CocoFile]:
    name, ann_file = dataset.get('type'), dataset.get('ann_file')
    if not name or not isinstance(ann_file, str) or not ann_file or is_remote(dataset):
        return None
    root = dataset.get('data_root') or ''
    path = joined(root, ann_file)
    cls = _dataset_class(cfg, name) if is_local(path) else None
    if cls is None:
        return None
    classes = (dataset.get('metainfo') or {}).get('classes')
    default = classes is None
    if default:
        classes = cls.METAINFO.get('classes')
    if isinstance(classes, str) and os.path.isfile(classes):
        classes = Path(classes).read_text().splitlines()
    if classes is not None and not isinstance(classes, str):
        classes = tuple(classes)
    if dataset.get('return_classes'):
        # Open-vocabulary detectors have no label for a class.
        heads: Tuple[Tuple[str, int], ...] = ()
    else:
        heads = tuple(sorted(set(_heads(cfg.get('model'), 'model'))))
    steps = [s for s in dataset.get('pipeline') or [] if isinstance(s, dict)]
    trained = mode == 'train'
    use = CocoUse(
        classes=classes,
        trained=trained,
        needs_boxes=any(_is(step, 'LoadAnnotations') for step in steps),
        drops_empty=trained
        and bool((dataset.get('filter_cfg') or {}).get('filter_empty_gt')),
        default_classes=default,
        num_classes=heads,
    )
    prefix = (dataset.get('data_prefix') or {}).get('img', '')
    folder = joined(root, prefix) or root or '.'
    loaders = [step for step in steps if _is(step, 'LoadImageFromFile')]
    options = {k: v for k, v in (loaders or [{}])[0].items() if k in Loader._fields}
    return CocoFile(
        f'{mode}_dataloader.dataset',
        path,
        use,
        folder if loaders and is_local(folder) else None,
        Loader(**options),
    )


def _is(step: dict, name: str) -> bool:
    kind = step.get('type')
    return getattr(kind, '__name__', str(kind)).split('.')[-1] == name


def _heads(node: Any, path: str) -> Iterator[Tuple[str, int]]:
    """Yield keys and values of ``num_classes`` of the classifying heads."""
    if isinstance(node, dict):
        for key, value in node.items():
            where = f'{path}.{key}'
            heads = value if isinstance(value, (list, tuple)) else [value]
            for head in heads if key in _HEADS else []:
                if isinstance(head, dict) and isinstance(head.get('num_classes'), int):
                    yield f'{where}.num_classes', head['num_classes']
            yield from _heads(value, where)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _heads(value, f'{path}[{index}]')


def _metric_files(cfg: Config, mode: str) -> Iterator[str]:
    for metric in _metrics_in(cfg.get(f'{mode}_evaluator')):
        if not _is(metric, 'CocoMetric'):
            continue
        path = metric.get('ann_file')
        backend = (metric.get('backend_args') or {}).get('backend', 'local')
        if isinstance(path, str) and is_local(path) and backend == 'local':
            if not metric.get('format_only') and not metric.get('sort_categories'):
                yield path


def _metrics_in(node: Any) -> Iterator[dict]:
    """Yield the metrics of an evaluator: one, a list, or ``Evaluator(metrics=…)``."""
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _metrics_in(item)
    elif isinstance(node, dict):
        yield node
        yield from _metrics_in(node.get('metrics'))


def cached_report(file: CocoFile) -> CocoReport:
    """Report on a file, from the cache where file and use are those of before."""
    state = os.stat(file.path)
    if state.st_size < CACHED_BYTES:
        return check_coco_file(file.path, file.use)
    real = os.path.abspath(file.path)
    key = [_VERSION, real, state.st_size, state.st_mtime_ns, list(file.use)]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    kept = Path(root, 'dr2net_mm', 'coco_checks', f'{digest}.json')
    try:
        stored = json.loads(kept.read_text(encoding='utf-8'))
        return CocoReport(
            [Finding(*finding) for finding in stored['findings']],
            tuple(stored['labels']),
            [Entry(*entry) for entry in stored['images']],
        )
    except (OSError, ValueError, KeyError, TypeError):
        pass
    print(f'{file.path}: checking annotations (once for this file) ...', flush=True)
    report = check_coco_file(file.path, file.use)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(kept, 'w', 'utf-8') as out:
            json.dump(report._asdict(), out)
    except OSError:
        pass  # A cache that cannot be written costs some seconds a run.
    return report


def _raise_first(file: CocoFile, errors: List[Finding]) -> None:
    if not errors:
        return
    rest = ''
    if len(errors) > 1:
        rest = f' ({len(errors) - 1} more errors: tools/data/check_coco.py lists all)'
    raise DataFileError(f'{errors[0].message}{rest} [{file.key}]')


def _compare(
    file: CocoFile, labels: Sequence[str], other: CocoFile, before: Sequence[str]
) -> None:
    """Refuse two files of a run whose labels mean different classes."""
    if list(labels) == list(before) or None in (file.use.classes, other.use.classes):
        return
    pairs = zip((*labels, None), (*before, None))
    label, (mine, theirs) = next(x for x in enumerate(pairs) if x[1][0] != x[1][1])
    raise DataFileError(
        f'label {label} is {mine!r} in {file.path} ({file.key}), but {theirs!r} in '
        f'{other.path} ({other.key}): a model learns the one and is judged by the '
        'other. Give both the same metainfo classes and the same order of "categories"'
    )
