"""A detector and a dataset small enough to be trained in a test."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Callable, List, Tuple

import numpy as np
import pytest

from tests.fixtures.scripts import TOOLS, load_script

#: Arguments of a script -> its exit code and the calls of python in it.
NotedScript = Callable[..., Tuple[int, List[str]]]

CONFIG = """
default_scope = 'mmdet'
num_classes = 2
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, pad_size_divisor=32
    ),
    backbone=dict(
        type='ResNet', depth=18, base_channels=4, out_indices=(1, 2, 3),
        norm_cfg=dict(type='BN'),
    ),
    neck=dict(type='FPN', in_channels=[8, 16, 32], out_channels=8, num_outs=3),
    bbox_head=dict(
        type='RetinaHead', num_classes=num_classes, in_channels=8, feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1,
            ratios=[1.0], strides=[8, 16, 32],
        ),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0
        ),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1, pos_weight=-1,
    ),
    test_cfg=dict(
        nms_pre=50, min_bbox_size=0, score_thr=0.0, max_per_img=10,
        nms=dict(type='nms', iou_threshold=0.5),
    ),
)
data_root = {root!r}
metainfo = dict(classes=('circle', 'square'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root=data_root, ann_file='annotations.json',
        data_prefix=dict(img='images/'), metainfo=metainfo, pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root=data_root, ann_file='annotations.json',
        data_prefix=dict(img='images/'), metainfo=metainfo, test_mode=True,
        pipeline=train_pipeline[:3] + [
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                           'scale_factor'),
            )
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric', ann_file=data_root + '/annotations.json', metric='bbox'
)
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.001))
default_hooks = dict(visualization=dict(type='DetVisualizationHook'))
visualizer = dict(type='DetLocalVisualizer')
vis_backends = []
randomness = dict(seed=0)
work_dir = {work_dir!r}
"""


class ToyRun:
    """Folder with two images, their annotations and a config that trains on them."""

    def __init__(self, folder: Path) -> None:
        import mmcv

        self.folder = folder
        self.work_dir = folder / 'work'
        self.images = [folder / 'images' / f'{index}.png' for index in range(2)]
        self.annotation_file = folder / 'annotations.json'
        rng = np.random.default_rng(0)
        for image in self.images:
            mmcv.imwrite(rng.integers(0, 255, (64, 64, 3), np.uint8), str(image))
        self.annotation_file.write_text(json.dumps(self._annotations()))
        self.config = folder / 'toy.py'
        self.config.write_text(
            CONFIG.format(root=str(folder), work_dir=str(self.work_dir))
        )

    def _annotations(self) -> dict:
        sizes = dict(width=64, height=64)
        return dict(
            images=[
                dict(id=index, file_name=image.name, **sizes)
                for index, image in enumerate(self.images)
            ],
            annotations=[
                dict(
                    id=index + 1, image_id=index, category_id=index + 1, iscrowd=0,
                    bbox=[8 * index, 8, 32, 32], area=1024,
                )
                for index in range(2)
            ],
            categories=[dict(id=1, name='circle'), dict(id=2, name='square')],
        )  # fmt: skip

    def files(self) -> List[str]:
        """Names of everything in the work dir."""
        return sorted(path.name for path in self.work_dir.rglob('*'))


@pytest.fixture(scope='session')
def make_toy_run() -> Callable[[Path], ToyRun]:
    return ToyRun


@pytest.fixture
def toy_run(tmp_path: Path) -> ToyRun:
    return ToyRun(tmp_path)


_runs = iter(range(10**6))


def _runner_of(script: str) -> Callable[..., int]:
    module = load_script(script)

    def run(toy: ToyRun, *arguments: str) -> int:
        # MMEngine shares loggers and histories of runs with the same name.
        name = f'experiment_name = "{toy.config.stem}_{next(_runs)}"\n'
        toy.config.write_text(toy.config.read_text() + name)
        return module.main([str(toy.config), *arguments])

    return run


@pytest.fixture
def train() -> Callable[..., int]:
    """Runs tools/train.py in this process and returns its exit code."""
    return _runner_of('train.py')


@pytest.fixture
def evaluate() -> Callable[..., int]:
    """Runs tools/test.py in this process and returns its exit code."""
    return _runner_of('test.py')


@pytest.fixture(scope='session')
def trained_work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Work dir of a finished toy run, shared by all tests: not to be changed."""
    toy = ToyRun(tmp_path_factory.mktemp('trained'))
    assert _runner_of('train.py')(toy) == 0
    return toy.work_dir


@pytest.fixture
def checkpoint(toy_run: ToyRun, trained_work_dir: Path) -> Path:
    """A checkpoint in the toy run's work dir, as a finished run leaves it."""
    toy_run.work_dir.mkdir()
    path = toy_run.work_dir / 'epoch_1.pth'
    shutil.copy(str(trained_work_dir / path.name), str(path))
    (toy_run.work_dir / 'last_checkpoint').write_text(str(path))
    return path


@pytest.fixture
def error_line(capfd: pytest.CaptureFixture) -> Callable[[], str]:
    """The one error line on stderr, after checking that no stack comes with it."""

    def read() -> str:
        stderr = capfd.readouterr().err
        lines = [line for line in stderr.splitlines() if ': error' in line]
        assert len(lines) == 1, stderr
        assert 'Traceback' not in stderr, stderr
        return lines[0]

    return read


@pytest.fixture
def noted_script(
    tmp_path: Path,
) -> Callable[[str], Callable[..., Tuple[int, List[str]]]]:
    """A shell script of tools/ in a folder of its own, with a python that only notes.

    The script returns its exit code and the calls of python. A call whose arguments
    contain ``fails`` fails.
    """

    def prepare(name: str) -> NotedScript:
        tools = tmp_path / 'repository' / 'tools'
        tools.mkdir(parents=True)
        shutil.copy(TOOLS / name, tools)
        (tools / 'setup_env.sh').write_text('')
        python = tmp_path / 'bin' / 'python'
        python.parent.mkdir()
        python.write_text(
            '#!/bin/sh\necho "python $*"\ncase "$*" in *fails*) exit 2;; esac\n'
        )
        python.chmod(0o755)

        def call(*arguments: str) -> Tuple[int, List[str]]:
            environment = dict(os.environ, PATH=f'{python.parent}:{os.environ["PATH"]}')
            result = subprocess.run(
                ['bash', str(tools / name), *arguments],
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                timeout=60,
            )
            lines = result.stdout.splitlines()
            return result.returncode, [x for x in lines if x.startswith('python')]

        return call

    return prepare
