"""Behavior of tools/train.py on input that is in order."""

from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent.parent


def load(path):
    return torch.load(str(path), map_location='cpu', weights_only=False)


def test_a_run_trains_and_writes_a_whole_checkpoint(toy_run, train):
    assert train(toy_run) == 0
    assert load(toy_run.work_dir / 'epoch_1.pth')['meta']['iter'] == 2
    assert not [name for name in toy_run.files() if name.endswith('.partial')]


def test_resume_goes_on_from_the_last_checkpoint(toy_run, train, checkpoint, capfd):
    assert train(toy_run, '--resume', '--cfg-options', 'train_cfg.max_epochs=2') == 0
    captured = capfd.readouterr()
    assert 'resumed epoch: 1, iter: 2' in captured.out + captured.err
    assert load(toy_run.work_dir / 'epoch_2.pth')['meta']['iter'] == 4


def test_resume_finds_a_checkpoint_that_was_not_recorded(toy_run, train, checkpoint):
    (toy_run.work_dir / 'last_checkpoint').write_text('')
    assert train(toy_run, '--resume', '--cfg-options', 'train_cfg.max_epochs=2') == 0
    assert load(toy_run.work_dir / 'epoch_2.pth')['meta']['iter'] == 4


def test_resume_finds_the_checkpoint_of_a_work_dir_that_was_moved(
    toy_run, train, checkpoint
):
    moved = toy_run.folder / 'moved'
    toy_run.work_dir.rename(moved)
    options = ['--cfg-options', 'train_cfg.max_epochs=2']
    assert train(toy_run, f'--work-dir={moved}', '--resume', *options) == 0
    assert (moved / 'epoch_2.pth').is_file()


def test_resume_without_a_checkpoint_starts_from_load_from(toy_run, train, checkpoint):
    fresh = toy_run.folder / 'fresh'
    options = [f'load_from={checkpoint}', 'optim_wrapper.optimizer.lr=0.0']
    assert (
        train(toy_run, '--resume', f'--work-dir={fresh}', '--cfg-options', *options)
        == 0
    )
    name = 'backbone.layer1.0.conv1.weight'
    before = load(checkpoint)['state_dict'][name]
    assert torch.equal(load(fresh / 'epoch_1.pth')['state_dict'][name], before)


def test_finetuning_with_another_number_of_classes_is_allowed(
    toy_run, train, checkpoint
):
    finetuned = toy_run.folder / 'finetuned'
    options = [
        f'load_from={checkpoint}',
        'model.bbox_head.num_classes=5',
        # The dataset has no name for the new classes that a validation would report.
        'val_cfg=None',
        'val_dataloader=None',
        'val_evaluator=None',
    ]
    assert train(toy_run, f'--work-dir={finetuned}', '--cfg-options', *options) == 0
    assert (finetuned / 'epoch_1.pth').is_file()


def test_auto_scale_lr_scales_by_the_batch_size(toy_run, train, capfd):
    options = ['--cfg-options', 'auto_scale_lr.base_batch_size=4']
    assert train(toy_run, '--auto-scale-lr', *options) == 0
    assert 'lr: 2.5000e-04' in ''.join(capfd.readouterr())


def test_leftovers_of_a_killed_run_are_removed(toy_run, train):
    toy_run.work_dir.mkdir()
    leftover = toy_run.work_dir / '.epoch_1.pth.12345678.partial'
    leftover.write_bytes(b'half a checkpoint')
    assert train(toy_run) == 0
    assert not leftover.exists()


def test_a_work_dir_of_a_living_run_is_left_alone(toy_run, train, error_line):
    from dr2net_mm.launch.work_dir_lock import owned

    with owned(str(toy_run.work_dir)):
        half = toy_run.work_dir / '.epoch_1.pth.12345678.partial'
        half.write_bytes(b'half a checkpoint')
        assert train(toy_run) == 2
        assert half.exists()
    assert str(toy_run.work_dir) in error_line()
    assert not list(toy_run.work_dir.glob('*.pth'))


def test_a_finished_run_that_is_resumed_says_so(toy_run, train, checkpoint, error_line):
    options = ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
    assert train(toy_run, '--resume', '--cfg-options', *options) == 2
    line = error_line()
    assert 'trained 1 epochs' in line and 'train_cfg.max_epochs=1' in line


def test_a_changed_learning_rate_is_named_on_resume(toy_run, train, checkpoint, capfd):
    options = ['train_cfg.max_epochs=2', 'optim_wrapper.optimizer.lr=0.5']
    assert train(toy_run, '--resume', '--cfg-options', *options) == 0
    said = ''.join(capfd.readouterr())
    without, effect = said.split('without effect')[1].split('in effect')
    assert 'optim_wrapper.optimizer.lr (0.001 before, 0.5 now)' in without
    assert 'train_cfg.max_epochs (1 before, 2 now)' in effect.splitlines()[0]


LOW_MEMORY = """
custom_imports = dict(imports=['dr2net_mm'])
model.update(
    backbone=dict(
        type='Dr2SwinTransformer', embed_dims=8, depths=(1, 1), num_heads=(1, 2),
        strides=(4, 2), out_indices=(0, 1), drop_path_rate=0.0,
    ),
    neck=dict(type='FPN', in_channels=[8, 16], out_channels=8, num_outs=3),
)
train_dataloader.update(batch_size=2)
train_cfg.update(max_epochs=2)
optim_wrapper.update(optimizer=dict(type='SGD', lr=0.1))
"""
PIECES = """
custom_hooks = [
    dict(
        type='ActivationCheckpointHook',
        pieces=[
            dict(module='neck', samples=['inputs'], size=1),
            dict(
                module='bbox_head', samples=['x'], method='forward_single', size=1
            ),
        ],
    )
]
"""


def test_a_run_in_pieces_trains_to_the_weights_of_one_without(toy_run, train, capfd):
    given, states = toy_run.config.read_text(), []
    for name, hooks in (('whole', ''), ('pieces', PIECES)):
        toy_run.config.write_text(given + LOW_MEMORY + hooks)
        folder = toy_run.folder / name
        assert train(toy_run, f'--work-dir={folder}') == 0
        first, last = (load(folder / f'epoch_{n}.pth')['state_dict'] for n in (1, 2))
        states.append(last)
    printed = ''.join(capfd.readouterr())
    assert 'runs 2 parts in pieces: neck, bbox_head.forward_single' in printed
    name = 'bbox_head.retina_cls.weight'
    assert float((last[name] - first[name]).abs().max()) > 1e-3
    whole, pieces = states
    assert list(whole) == list(pieces)
    for key, value in whole.items():
        torch.testing.assert_close(pieces[key], value)
