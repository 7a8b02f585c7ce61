"""The tools run MMAction2 configs as they run MMDetection's."""

import pickle

import numpy as np
import pytest

CONFIG = """
default_scope = 'mmaction'
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNet', depth=18, norm_eval=False),
    cls_head=dict(
        type='TSNHead', num_classes=2, in_channels=512, average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3,
        format_shape='NCHW',
    ),
)
pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=2,
         test_mode=True),
    dict(type='RawFrameDecode'),
    dict(type='FormatShape', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='RawframeDataset', ann_file={root!r} + '/list.txt',
        data_prefix=dict(img={root!r} + '/frames'), filename_tmpl='{{:02}}.png',
        pipeline=pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(train_dataloader['dataset'], test_mode=True),
)
test_evaluator = dict(type='AccMetric')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.001))
default_hooks = dict(visualization=dict(type='VisualizationHook'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
work_dir = {work_dir!r}
"""


@pytest.fixture
def toy_action_run(toy_run):
    """The toy run's folder with two clips of four frames instead of images."""
    import mmcv

    rng = np.random.default_rng(0)
    for clip in ('a', 'b'):
        for frame in range(1, 5):
            image = rng.integers(0, 255, (32, 32, 3), np.uint8)
            path = toy_run.folder / 'frames' / clip / f'{frame:02}.png'
            mmcv.imwrite(image, str(path))
    (toy_run.folder / 'list.txt').write_text('a 4 0\nb 4 1\n')
    text = CONFIG.format(root=str(toy_run.folder), work_dir=str(toy_run.work_dir))
    toy_run.config.write_text(text)
    return toy_run


def test_a_recognizer_is_trained_and_tested(toy_action_run, train, evaluate):
    assert train(toy_action_run) == 0
    predictions = toy_action_run.folder / 'predictions.pkl'
    checkpoint = toy_action_run.work_dir / 'epoch_1.pth'
    assert evaluate(toy_action_run, str(checkpoint), '--out', str(predictions)) == 0
    with open(str(predictions), 'rb') as file:
        assert len(pickle.load(file)) == 2


def test_a_corrupt_frame_is_named(toy_action_run, train, error_line):
    for frame in (toy_action_run.folder / 'frames' / 'b').iterdir():
        frame.write_bytes(b'not an image')
    assert train(toy_action_run) == 2
    assert str(toy_action_run.folder / 'frames' / 'b') in error_line()


def test_a_missing_list_of_clips_is_named(toy_action_run, train, error_line):
    (toy_action_run.folder / 'list.txt').unlink()
    assert train(toy_action_run) == 2
    assert 'list.txt' in error_line()
