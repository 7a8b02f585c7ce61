"""Files of a training set that cannot be read: what tools/train.py says, and leaves."""

import os
import shutil
import signal

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

pytestmark = pytest.mark.usefixtures('configs_as_they_are')

ACTION_CONFIG = """
default_scope = 'mmaction'
reader = {reader!r}
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='Dr2SwinTransformer3D', pretrained2d=False, window_size=(2, 2, 2),
        patch_size=(2, 4, 4),
        arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1]),
    ),
    cls_head=dict(type='I3DHead', in_channels=64, num_classes=2),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3,
        format_shape='NCTHW',
    ),
)
train_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset', ann_file='list.txt', data_root={root!r},
        data_prefix=dict(video='films'),
        pipeline=[
            dict(type=f'{{reader}}Init'),
            dict(type='SampleFrames', clip_len=4, frame_interval=2, num_clips=1),
            dict(type=f'{{reader}}Decode'),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs'),
        ],
    ),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.001))
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)
)
custom_hooks = [dict(type='Dr2CoefficientHook', end_iter=2, interval=1)]
visualizer = dict(type='ActionVisualizer')
randomness = dict(seed=0)
work_dir = {work_dir!r}
"""


def write_film(path):
    """Write a video of noise, so that its end is far from its beginning."""
    import cv2

    code = 'MJPG' if path.suffix == '.avi' else 'mp4v'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (64, 32))
    assert writer.isOpened()
    generator = np.random.default_rng(0)
    for _ in range(20):
        writer.write(generator.integers(0, 255, (32, 64, 3), np.uint8))
    writer.release()


@pytest.fixture
def make_action_run(toy_run):
    """The toy run's folder with two films, and a recognizer that trains on them."""

    def make(suffix, reader):
        folder = toy_run.folder
        (folder / 'films').mkdir()
        toy_run.films = [folder / 'films' / f'{index}{suffix}' for index in range(2)]
        for path in toy_run.films:
            write_film(path)
        lines = [f'{path.name} {index}\n' for index, path in enumerate(toy_run.films)]
        (folder / 'list.txt').write_text(''.join(lines))
        toy_run.config.write_text(
            ACTION_CONFIG.format(
                reader=reader, root=str(folder), work_dir=str(toy_run.work_dir)
            )
        )
        return toy_run

    return make


DAMAGES = {
    'empty': lambda content: b'',
    'not a video': lambda content: b'not a video' * 100,
    'truncated': lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize(
    ('suffix', 'reader', 'workers', 'damage'),
    [
        ('.mp4', 'Decord', 0, 'empty'),
        ('.mp4', 'Decord', 0, 'not a video'),
        ('.mp4', 'Decord', 1, 'truncated'),
        ('.mp4', 'OpenCV', 1, 'truncated'),
        ('.avi', 'Decord', 0, 'not a video'),
    ],
)
def test_a_corrupt_video_is_named_and_the_last_checkpoint_stays(
    make_action_run, train, error_line, suffix, reader, workers, damage
):
    run = make_action_run(suffix, reader)
    bad = run.films[1]
    bad.write_bytes(DAMAGES[damage](bad.read_bytes()))
    options = ['--cfg-options', f'train_dataloader.num_workers={workers}']
    assert train(run, *options) == 2
    line = error_line()
    assert str(bad) in line and 'take it out of the annotations' in line
    # The first film has been trained on, and can be gone on from.
    assert [path.name for path in run.work_dir.glob('*.pth')] == ['iter_1.pth']
    shutil.copy(str(run.films[0]), str(bad))
    assert train(run, '--resume') == 0
    assert (run.work_dir / 'iter_4.pth').is_file()


def test_a_truncated_avi_is_read_as_far_as_it_goes(make_action_run, train):
    # Its frames have no index. In memory, decord would end the process.
    run = make_action_run('.avi', 'Decord')
    bad = run.films[1]
    bad.write_bytes(DAMAGES['truncated'](bad.read_bytes()))
    assert train(run) == 0


@TRANSFORMS.register_module()
class KilledByTheSecondFilm(BaseTransform):
    """What a decoder that crashes, or the kernel out of memory, does to a worker."""

    def transform(self, results):
        if results['label'] == 1 and not os.environ.get('SECOND_FILM_IS_FINE'):
            os.kill(os.getpid(), signal.SIGKILL)
        return results


def test_a_worker_that_is_killed_ends_the_run_with_advice(
    make_action_run, train, error_line, monkeypatch
):
    run = make_action_run('.mp4', 'Decord')
    killer = "dict(type='KilledByTheSecondFilm')"
    pipeline = "train_dataloader['dataset']['pipeline']"
    run.config.write_text(run.config.read_text() + f'{pipeline}.insert(0, {killer})\n')
    workers = 'train_dataloader.num_workers=1'
    assert train(run, '--cfg-options', workers) == 2
    line = error_line()
    for word in ('DataLoader worker', 'memory', 'num_workers=0', '--resume'):
        assert word in line
    monkeypatch.setenv('SECOND_FILM_IS_FINE', '1')
    assert train(run, '--resume') == 0
    assert (run.work_dir / 'iter_4.pth').is_file()
