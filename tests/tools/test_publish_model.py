"""The tool that makes a checkpoint ready to be given to others."""

import hashlib
import io
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner.checkpoint import load_checkpoint, load_state_dict

from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools/model_converters/publish_model.py'


@pytest.fixture(scope='module')
def tool():
    return load_script(SCRIPT)


@pytest.fixture(scope='module')
def averaged_run(make_toy_run, tmp_path_factory):
    """A finished run of a dual-residual detector with an EMAHook."""
    toy = make_toy_run(tmp_path_factory.mktemp('averaged'))
    toy.config.write_text(
        toy.config.read_text()
        + """
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model['backbone'] = dict(
    type='Dr2SwinTransformer', embed_dims=4, depths=(1, 1, 1, 1),
    num_heads=(1, 1, 2, 2), window_size=4, out_indices=(1, 2, 3),
)
custom_hooks = [
    dict(type='Dr2CoefficientHook', end=(0.5, 0.5), end_iter=1),
    dict(type='EMAHook', momentum=0.5),
]
experiment_name = 'averaged_run'
"""
    )
    module = load_script(SCRIPT.parents[1] / 'train.py')
    assert module.main([str(toy.config)]) == 0
    return toy


@pytest.fixture
def source(averaged_run):
    return averaged_run.work_dir / 'epoch_1.pth'


def model_of(toy):
    cfg = Config.fromfile(str(toy.config))
    init_default_scope('mmdet')
    return MODELS.build(cfg.model)


def only_file(folder):
    (path,) = [path for path in folder.iterdir() if path.is_file()]
    return path


def test_a_run_is_published_and_loads_strictly(
    averaged_run, source, tool, tmp_path, capsys
):
    assert tool.main([str(source), str(tmp_path / 'tiny.pth')]) == 0
    path = only_file(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert path.name == f'tiny-{digest}.pth'
    content = torch.load(str(path), map_location='cpu', weights_only=True)
    model = model_of(averaged_run)
    load_state_dict(model, content['state_dict'], strict=True)
    assert (model.backbone.alpha, model.backbone.beta) == (0.5, 0.5)
    assert 'Dr2SwinTransformer' in content['meta']['cfg']
    assert content['meta']['dataset_meta']['classes'] == ('circle', 'square')
    assert path.stat().st_size < source.stat().st_size
    said = capsys.readouterr().out
    assert str(path) in said and 'alpha = 0.5, beta = 0.5' in said
    assert 'dropped: ema_state_dict, message_hub, optimizer' in said
    assert 'MiB before' in said


def test_the_average_or_the_last_iteration_is_published(source, tool, tmp_path):
    run = torch.load(str(source), weights_only=True)
    name = 'backbone.patch_embed.projection.weight'
    for choice, expected in (
        ('averaged', run['state_dict'][name]),
        ('last', run['ema_state_dict']['module.' + name]),
    ):
        folder = tmp_path / choice
        assert tool.main([str(source), str(folder / 'a.pth'), '--weights', choice]) == 0
        weights = torch.load(str(only_file(folder)), weights_only=True)['state_dict']
        assert torch.equal(weights[name], expected)
    assert not torch.equal(
        run['state_dict'][name], run['ema_state_dict']['module.' + name]
    )


def test_the_published_file_gives_the_same_predictions(
    averaged_run, source, tool, evaluate, tmp_path
):
    assert tool.main([str(source), str(tmp_path / 'published' / 'a.pth')]) == 0
    published = only_file(tmp_path / 'published')
    dumps = []
    for checkpoint in (source, published):
        path = tmp_path / f'{checkpoint.stem}.pkl'
        assert evaluate(averaged_run, str(checkpoint), '--out', str(path)) == 0
        dumps.append(pickle.loads(path.read_bytes()))
    for ours, theirs in zip(*dumps):
        for name in ('bboxes', 'scores'):
            found = theirs['pred_instances'][name]
            assert torch.equal(ours['pred_instances'][name], found)
    load_checkpoint(model_of(averaged_run), str(published), strict=True)


def test_an_existing_file_is_replaced_only_by_force(source, tool, tmp_path, error_line):
    target = str(tmp_path / 'a.pth')
    assert tool.main([source.as_posix(), target]) == 0
    only_file(tmp_path).write_text('precious')
    assert tool.main([source.as_posix(), target]) == 2
    assert '--force' in error_line()
    assert only_file(tmp_path).read_text() == 'precious'
    assert tool.main([source.as_posix(), target, '--force']) == 0
    assert only_file(tmp_path).stat().st_size > 1000


class OpensFile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return io.open, (self.path, 'w')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(weight=torch.ones(1)), 'no checkpoint of a training run'),
        ([1, 2], 'no checkpoint of a training run'),
        (dict(state_dict=dict(weight=1.0)), "'weight' is of type float"),
        (b'<html>', 'is not a PyTorch checkpoint'),
        ('malicious', 'not loaded unasked'),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, message, tool, tmp_path, error_line):
    source, harm = tmp_path / 'source.pth', tmp_path / 'harm'
    if content == 'malicious':
        weights = dict(weight=torch.ones(1))
        content = dict(state_dict=weights, extra=OpensFile(str(harm)))
    if isinstance(content, bytes):
        source.write_bytes(content)
    else:
        torch.save(content, str(source))
    assert tool.main([str(source), str(tmp_path / 'out.pth')]) == 2
    line = error_line()
    assert message in line and str(source) in line
    assert only_file(tmp_path) == source


def test_a_full_disk_leaves_nothing_behind(source, tool, tmp_path, monkeypatch, capfd):
    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    assert tool.main([str(source), str(tmp_path / 'a.pth')]) == 2
    assert 'No space left' in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
