"""Bad input to tools/train.py and tools/test.py: one line, exit code 2."""

import json

import pytest
import torch


def test_a_missing_config_is_named(toy_run, train, error_line):
    toy_run.config.unlink()
    toy_run.config = toy_run.folder / 'absent' / 'toy.py'
    toy_run.config.parent.mkdir()
    toy_run.config.write_text('_base_ = "./nothing.py"\n')
    assert train(toy_run) == 2
    assert 'nothing.py' in error_line()


def test_a_config_with_a_syntax_error_is_named(toy_run, train, error_line):
    toy_run.config.write_text('model = dict(\n')
    assert train(toy_run) == 2
    assert 'toy.py' in error_line()


def test_a_missing_annotation_file_stops_before_anything_is_made(
    toy_run, train, error_line
):
    toy_run.annotation_file.unlink()
    assert train(toy_run) == 2
    line = error_line()
    assert str(toy_run.annotation_file) in line and 'data_root' in line
    assert not toy_run.work_dir.exists()


def test_a_missing_image_folder_stops_before_anything_is_made(
    toy_run, train, error_line
):
    (toy_run.folder / 'images').rename(toy_run.folder / 'elsewhere')
    assert train(toy_run) == 2
    assert str(toy_run.folder / 'images') in error_line()
    assert not toy_run.work_dir.exists()


def test_an_annotation_file_that_is_not_json_is_one_line(toy_run, train, error_line):
    toy_run.annotation_file.write_text('{"images": [')
    assert train(toy_run) == 2
    line = error_line()
    assert str(toy_run.annotation_file) in line and 'not a JSON file' in line


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('content', [b'', b'not an image'])
def test_a_corrupt_image_is_named(toy_run, train, error_line, content, workers):
    toy_run.images[1].write_bytes(content)
    assert (
        train(toy_run, '--cfg-options', f'train_dataloader.num_workers={workers}') == 2
    )
    assert str(toy_run.images[1]) in error_line()
    assert not list(toy_run.work_dir.glob('*.pth'))


def test_a_listed_image_that_does_not_exist_is_named(toy_run, train, error_line):
    toy_run.images[0].unlink()
    assert train(toy_run) == 2
    line = error_line()
    assert str(toy_run.images[0]) in line and 'data_prefix' in line


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('trian_cfg.max_epochs=2', "did you mean 'train_cfg'?"),
        ('model.backbone.detph=50', "did you mean 'depth'?"),
        ('train_cfg.max_epoch=2', "did you mean 'max_epochs'?"),
        ('model.backbone.type=ResNat', "type='ResNat'"),
        ('model.backbone.depth=19', '19'),
        ('optim_wrapper.optimizer.learning_rate=1', 'learning_rate'),
        ('train_dataloader.dataset.type=Kokos', "type='Kokos'"),
        ('load_from=absent.pth', "'absent.pth'"),
        ('model.backbone.init_cfg.type=Pretrained '
         'model.backbone.init_cfg.checkpoint=absent.pth',
         'model.backbone.init_cfg.checkpoint'),
    ],
)  # fmt: skip
def test_an_unknown_option_is_named(toy_run, train, error_line, option, expected):
    assert train(toy_run, '--cfg-options', *option.split()) == 2
    assert expected in error_line()


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('model.neck.in_channels=[8]', ['FPN.forward', 'len(self.in_channels)']),
        ('model.backbone.out_indices=[1,2,7]', ['ResNet', 'max(out_indices)']),
        ('model.bbox_head.in_channels=16', ['expected input', '16 channels']),
        ('model.bbox_head.anchor_generator.strides=[8]', ['RetinaHead', 'num_levels']),
        ('model.train_cfg.assigner.pos_iou_thr=a', ["'Tensor' and 'str'"]),
        ('train_dataloader.dataset.pipeline=[]', ["key 'inputs' is missing"]),
        ('train_dataloader.batch_size=0', ['batch_size=0', 'positive']),
        ('train_dataloader.dataset.filter_cfg.min_size=999', ['has no sample']),
        ('train_cfg.max_epochs=0', ['train_cfg.max_epochs=0', 'at least 1']),
    ],
)
def test_a_value_that_fits_nothing_else_is_one_line_with_its_place(
    toy_run, train, error_line, option, expected
):
    # Most of them show in the first iteration only, as the frameworks' exceptions.
    assert train(toy_run, '--cfg-options', option) == 2
    line = error_line()
    assert all(word in line for word in expected), line


def test_an_option_without_a_value_is_a_usage_error(toy_run, train, capfd):
    with pytest.raises(SystemExit) as exit_info:
        train(toy_run, '--cfg-options', 'max_epochs')
    assert exit_info.value.code == 2
    assert 'KEY=VALUE' in capfd.readouterr().err


def test_a_work_dir_below_a_file_is_refused(toy_run, train, error_line):
    assert train(toy_run, f'--work-dir={toy_run.annotation_file}/run') == 2
    assert 'is a file' in error_line()


def test_amp_without_a_gpu_is_refused(toy_run, train, error_line, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert train(toy_run, '--amp') == 2
    assert '--amp' in error_line()


def test_auto_scale_lr_needs_a_base_batch_size(toy_run, train, error_line):
    assert train(toy_run, '--auto-scale-lr') == 2
    assert 'base_batch_size' in error_line()


@pytest.mark.parametrize('flag', ['--resume={}', '--cfg-options load_from={}'])
def test_a_checkpoint_of_another_architecture_is_refused(
    toy_run, train, checkpoint, error_line, flag
):
    options = flag.format(checkpoint).split()
    if '--cfg-options' not in options:
        options.append('--cfg-options')
    options += ['model.backbone.base_channels=8', 'model.neck.in_channels=[16,32,64]']
    assert train(toy_run, *options) == 2
    line = error_line()
    assert str(checkpoint) in line and 'another architecture' in line
    assert not (toy_run.work_dir / 'epoch_2.pth').exists()


def test_resuming_with_another_head_is_refused(toy_run, train, checkpoint, error_line):
    options = ['--cfg-options', 'model.bbox_head.num_classes=5']
    assert train(toy_run, '--resume', *options) == 2
    assert 'bbox_head' in error_line()


def test_resuming_from_bare_weights_is_refused(toy_run, train, checkpoint, error_line):
    weights = torch.load(str(checkpoint), weights_only=False)['state_dict']
    torch.save(weights, str(toy_run.folder / 'weights.pth'))
    assert train(toy_run, f'--resume={toy_run.folder / "weights.pth"}') == 2
    assert 'load_from' in error_line()


def test_load_from_a_bare_backbone_names_the_right_option(
    toy_run, train, checkpoint, error_line
):
    weights = torch.load(str(checkpoint), weights_only=False)['state_dict']
    bare = {
        name[len('backbone.') :]: value
        for name, value in weights.items()
        if name.startswith('backbone.')
    }
    torch.save(bare, str(toy_run.folder / 'bare.pth'))
    options = ['--cfg-options', f'load_from={toy_run.folder / "bare.pth"}']
    assert train(toy_run, *options) == 2
    assert 'init_cfg' in error_line()


@pytest.mark.parametrize('damage', ['truncated', 'not a PyTorch checkpoint'])
def test_a_damaged_checkpoint_is_refused(
    toy_run, evaluate, checkpoint, error_line, damage
):
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:1000] if damage == 'truncated' else b'<html>')
    assert evaluate(toy_run, str(checkpoint)) == 2
    assert damage in error_line()


def test_testing_a_missing_checkpoint_names_it(toy_run, evaluate, error_line):
    assert evaluate(toy_run, 'absent.pth') == 2
    assert "'absent.pth'" in error_line()
    assert not toy_run.work_dir.exists()


def test_testing_with_another_head_is_refused(
    toy_run, evaluate, checkpoint, error_line
):
    options = ['--cfg-options', 'model.bbox_head.num_classes=5']
    assert evaluate(toy_run, str(checkpoint), *options) == 2
    assert 'bbox_head' in error_line()


def test_predictions_go_to_a_pickle_file_only(
    toy_run, evaluate, checkpoint, error_line
):
    assert evaluate(toy_run, str(checkpoint), '--out', 'predictions.json') == 2
    assert '.pkl' in error_line()


def test_traceback_shows_the_stack_besides_the_line(toy_run, train, capfd):
    toy_run.annotation_file.write_text(json.dumps(dict(images=3)))
    assert train(toy_run, '--traceback') == 2
    stderr = capfd.readouterr().err
    assert 'Traceback' in stderr and stderr.splitlines()[-1].startswith(
        'train.py: error'
    )
