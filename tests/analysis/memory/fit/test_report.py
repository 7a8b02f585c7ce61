"""From a limit to lines of a config."""

import argparse
import json

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS

from dr2net_mm.analysis.memory.command import main
from dr2net_mm.analysis.memory.fit.config_lines import config_lines
from dr2net_mm.analysis.memory.fit.report import byte_size
from dr2net_mm.analysis.memory.fit.training_memory import Setting, Training
from dr2net_mm.analysis.subjects.detectors import config_detector
from dr2net_mm.config_file import load_config

NANO = 'configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py'
PLAIN = 'configs/dino/dino-5scale_swin-l_no-cp_8xb2-12e_coco.py'
SIZE = ('--img-size', '224')


@pytest.mark.parametrize(
    ('text', 'size'),
    [('12e9', 12e9), ('24GB', 24e9), ('1.5 gib', 1.5 * 2**30), ('500MB', 5e8)],
)
def test_sizes_of_memory_are_read_with_and_without_units(text, size):
    assert byte_size(text) == int(size)


@pytest.mark.parametrize('text', ['24', '24TB', 'GB', '-3GB', 'inf', '1.2.3GB', ''])
def test_what_is_no_size_of_a_memory_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='accepted: bytes, such as'):
        byte_size(text)


def lines_of(root, path, setting):
    path = str(root / path)
    return '\n'.join(config_lines(path, load_config(path), setting))


def pasted(folder, text):
    file = folder / 'my_config.py'
    file.write_text(text)
    return Config.fromfile(file)


def test_the_lines_are_a_config_that_trains_as_planned(request, tmp_path):
    setting = Setting(1, 2, 'dr2', 'pieces', 3 * 10**9, 'bf16')
    root = request.config.rootpath
    found = pasted(tmp_path, lines_of(root, PLAIN, setting))
    backbone = found.model.backbone
    assert backbone.type == 'Dr2SwinTransformer' and backbone.with_cp is False
    assert backbone.dual_residual == dict(memory_budget=3 * 10**9)
    assert backbone.embed_dims == 192  # the rest of the backbone is inherited
    assert found.custom_imports.imports == ['dr2net_mm']
    kinds = [HOOKS.build(hook).__class__.__name__ for hook in found.custom_hooks]
    assert kinds == ['Dr2CoefficientHook', 'ActivationCheckpointHook']
    assert found.train_dataloader.batch_size == 1
    assert found.optim_wrapper.type == 'AmpOptimWrapper'
    assert found.optim_wrapper.accumulative_counts == 2
    assert found.optim_wrapper.clip_grad


def test_hooks_of_the_config_are_repeated_and_what_is_as_it_should_be_is_not(request):
    root = request.config.rootpath
    text = lines_of(root, NANO, Setting(2, 1, 'dr2', 'encoder'))
    given = load_config(str(root / NANO)).custom_hooks
    assert len(text.splitlines()) == 3 + len(given) + 1
    assert "type='ActivationCheckpointHook', modules=['encoder.layers']" in text
    assert lines_of(root, NANO, Setting(2, 1, 'dr2')).splitlines() == [
        f'_base_ = {str(root / NANO)!r}'
    ]
    text = lines_of(root, PLAIN, Setting(2, 1, 'conventional'))
    assert 'model' not in text and 'custom_imports' not in text
    text = lines_of(root, PLAIN, Setting(2, 1, 'checkpoint'))
    assert text.splitlines()[1:] == ['model = dict(backbone=dict(with_cp=True))']


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code


def written(file):
    return f'written: {file}\n'


def test_the_command_prints_a_table_and_the_config(request, tmp_path, capsys):
    file = tmp_path / 'plan.json'
    path = str(request.config.rootpath / NANO)
    arguments = ('--fit', '100GB', '--boxes', '4', *SIZE, '--json', str(file))
    assert run(path, *arguments) == 0
    printed = capsys.readouterr().out
    assert 'least work that fits 100.00 GB: dr2 (budget' in printed
    assert f'_base_ = {path!r}\nmodel = dict(backbone=' in printed
    plan = json.loads(file.read_text())
    assert plan['limit'] == 100 * 10**9
    assert [row['fits'] for row in plan['settings']] == [True, True]
    stored, nothing = plan['settings']
    assert stored['total'] > nothing['total']
    assert stored['multiply_adds'] < nothing['multiply_adds']
    # What is printed last is a config, and its training takes what was promised.
    found = pasted(tmp_path, printed[printed.index('_base_ =') : -len(written(file))])
    budget = found.model.backbone.dual_residual.memory_budget
    training = Training(found, config_detector(found.filename), (224, 224), 4)
    setting = Setting(found.train_dataloader.batch_size, 1, 'dr2', '', budget)
    assert training.count(setting).total == stored['total'] <= plan['limit']


def test_a_limit_that_nothing_fits_says_what_is_missing(request, capsys):
    path = str(request.config.rootpath / NANO)
    few = ('--batch', '1', '--amp', 'bf16', *SIZE)
    assert run(path, '--fit', '50MB', *few) == 2
    shown = capsys.readouterr()
    assert shown.out.count(' no\n') == 3
    assert 'nothing fits 0.05 GB: the least is 0.0' in shown.err
    assert len(shown.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--backbone', 'swin-t', '--fit', '1GB'), '--fit needs CONFIG'),
        (('a.py', '--fit', 'much'), 'much is no size of a memory'),
        (('a.py', '--fit', '1GB', '--boxes', '0'), 'not a whole number of at least 1'),
        (
            ('configs/classification/dr2-vit-s14-dinov2_1xb8-2e_elpv.py',)
            + ('--fit', '1GB'),
            'accepted: detectors of one stage, such as DINO and RetinaNet; of two',
        ),
    ],
)
def test_wrong_arguments_get_one_line(request, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(request.config.rootpath)
    assert run(*arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown and len(shown.strip().splitlines()) == 1
