"""Runs with everything that a resumed one has to take up again, and their processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, Optional

import numpy as np
import pytest
import torch

import dr2net_mm  # noqa: F401  Lets torch load the log values of a checkpoint.

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

RESUMABLE = """
model.update(
    backbone=dict(
        type='Dr2SwinTransformer', embed_dims=8, depths=(1, 1, 1),
        num_heads=(1, 1, 2), window_size=2, patch_size=8, strides=(8, 2, 2),
        drop_path_rate=0.5, out_indices=(0, 1, 2),
    ),
)
model['data_preprocessor'].update(pad_size_divisor=64)
model['neck'].update(in_channels=[8, 16, 32])
train_pipeline[-1:-1] = [
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
]
# Three iterations an epoch, of two images.
train_dataloader.update(
    batch_size=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='RepeatDataset', times=3, dataset=train_dataloader['dataset'],
    ),
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=10.0)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type='MultiStepLR', by_epoch=True, milestones=[1], gamma=0.5),
]
custom_hooks = [
    dict(type='EMAHook', momentum=0.1),
    dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_iter=5, interval=1),
]
default_hooks.update(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer.update(vis_backends=vis_backends)
"""

BY_EPOCH = """
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
"""
BY_ITERATION = """
train_cfg = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=3)
train_dataloader['sampler'] = dict(type='InfiniteSampler')
default_hooks['checkpoint'].update(by_epoch=False)
param_scheduler[1].update(by_epoch=False, milestones=[3])
log_processor = dict(by_epoch=False)
"""
# The best checkpoint, and a schedule that follows the metric, need every validation.
BY_METRIC = """
param_scheduler[1] = dict(
    type='ReduceOnPlateauLR', by_epoch=True, monitor='coco/bbox_mAP', patience=0,
)
default_hooks['checkpoint'].update(save_best='coco/bbox_mAP')
"""

UNITS = dict(epochs=BY_EPOCH, iterations=BY_ITERATION, metric=BY_EPOCH + BY_METRIC)


class ResumableRun:
    """A toy run of six iterations, in one of ``UNITS``."""

    def __init__(self, toy, unit: str, *lines: str) -> None:
        self.folder, self.work_dir, self.config = toy.folder, toy.work_dir, toy.config
        self._text = '\n'.join(
            [self.config.read_text(), RESUMABLE, UNITS[unit], *lines, '']
        )
        self.inject()

    def inject(self, moment: str = '', at: int = 0, rank: int = 0) -> None:
        """Let the run be killed, see KillHook; without arguments let it go on."""
        text = self._text
        if moment:
            hook = dict(type='KillHook', moment=moment, at=at, rank=rank)
            text += f'custom_hooks.append({hook})\n'
        self.config.write_text(text)

    def output(self) -> str:
        """What the processes of the run have printed."""
        path = self.folder / 'output.txt'
        return path.read_text() if path.exists() else ''

    def results(self) -> dict:
        """Everything of the last checkpoint that ought to be the same."""
        checkpoint = torch.load(
            (self.work_dir / 'last_checkpoint').read_text(), weights_only=True
        )
        hub, meta = checkpoint.pop('message_hub'), checkpoint.pop('meta')
        for name in ('state_dict', 'optimizer', 'param_schedulers', 'ema_state_dict'):
            assert checkpoint[name]
        kept = _leaves(checkpoint)
        assert any(name.endswith('dual_residual.alpha') for name in kept)
        kept.update({f'meta/{name}': meta[name] for name in ('epoch', 'iter', 'seed')})
        # The values of every iteration and validation.
        for name, history in hub['log_scalars'].items():
            if not name.endswith(('time', 'memory')):
                kept[f'log/{name}'] = history.data[0]
        for name in ('best_score', 'best_ckpt'):
            if name in hub['runtime_info']:
                kept[name] = Path(str(hub['runtime_info'][name])).name
        return kept

    def logged(self) -> dict:
        """Log lines by epoch or iteration; of those written twice, the last."""
        lines = {}
        for path in sorted(self.work_dir.glob('*/vis_data/scalars.json')):
            for line in path.read_text().splitlines():
                values = json.loads(line)
                for name in ('time', 'data_time', 'memory'):
                    values.pop(name, None)
                lines[values['step'], 'loss' in values] = values
        return lines

    def differences(self, other: 'ResumableRun') -> List[str]:
        """Names of what differs, bit by bit, from another run."""
        ours, theirs = self.results(), other.results()
        ours['logged'], theirs['logged'] = self.logged(), other.logged()
        return [
            name
            for name in {**ours, **theirs}
            if not _same(ours.get(name), theirs.get(name))
        ]


def _leaves(value, name='') -> dict:
    """Leaves of nested containers by their path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {name: value}
    return {
        key: leaf
        for part, inner in items
        for key, leaf in _leaves(inner, f'{name}/{part}').items()
    }


def _same(ours, theirs) -> bool:
    if torch.is_tensor(ours) and torch.is_tensor(theirs):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(ours, np.ndarray) and isinstance(theirs, np.ndarray):
        return np.array_equal(ours, theirs)
    return type(ours) is type(theirs) and ours == theirs


@pytest.fixture(scope='session')
def make_run(make_toy_run, tmp_path_factory) -> Callable[..., ResumableRun]:
    def make(unit: str, *lines: str) -> ResumableRun:
        return ResumableRun(make_toy_run(tmp_path_factory.mktemp(unit)), unit, *lines)

    return make


class TrainingServer:
    """Starts trainings in processes that need not import everything again."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
        # Nothing in a checkpoint may need more than weights_only allows.
        environment = dict(PYTHONPATH=path, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1')
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / 'training_server.py')],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def _ask(self, **job) -> int:
        self._process.stdin.write(json.dumps(job) + '\n')
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(
        self,
        run: ResumableRun,
        *arguments: str,
        environment: Optional[Dict[str, str]] = None,
        tool: str = 'train.py',
    ) -> int:
        """Start a tool on a run's config; returns the number of the process."""
        return self._ask(
            tool=tool,
            arguments=[str(run.config), *arguments],
            environment=environment or {},
            log=str(run.folder / 'output.txt'),
        )

    def wait(self, process: int) -> int:
        """Exit code of a process, or its signal as a negative number."""
        return self._ask(wait=process)

    def train(self, run: ResumableRun, *arguments: str) -> int:
        """Run tools/train.py; returns its exit code."""
        return self.wait(self.start(run, *arguments))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope='module')
def server() -> TrainingServer:
    server = TrainingServer()
    yield server
    server.close()


@pytest.fixture(scope='module')
def reference(server, make_run) -> Callable[[str], ResumableRun]:
    """Uninterrupted run of a unit, made once."""
    made: Dict[str, ResumableRun] = {}

    def get(unit: str) -> ResumableRun:
        if unit not in made:
            made[unit] = make_run(unit)
            assert server.train(made[unit]) == 0, made[unit].output()
        return made[unit]

    return get
