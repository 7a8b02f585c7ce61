"""tools/test.py runs a network at the alpha and beta that it was trained to."""

import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import dr2net_mm  # noqa: F401

DETECTOR = """
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
model['backbone'] = dict(
    type='Dr2SwinTransformer', embed_dims=4, depths=(1, 1, 2, 1),
    num_heads=(1, 1, 2, 2), window_size=4, out_indices=(1, 2, 3),
    dual_residual=dict(alpha=1.0, beta=0.1),
)
custom_hooks = [dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=1)]
"""


class Detector:
    """A detector of the toy run, checkpoints of it, and what tools/test.py makes."""

    def __init__(self, toy, evaluate, monkeypatch):
        from dr2net_mm.launch import launch

        self.toy, self.evaluate = toy, evaluate
        toy.config.write_text(toy.config.read_text() + DETECTOR)
        init_default_scope('mmdet')
        torch.manual_seed(0)
        self.model = MODELS.build(Config.fromfile(str(toy.config)).model)
        for name, parameter in self.model.named_parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.1)
        self.runners = []
        build = launch.build_runner

        def remembered(*arguments):
            self.runners.append(build(*arguments))
            return self.runners[-1]

        monkeypatch.setattr(launch, 'build_runner', remembered)

    def checkpoint(self, name, pair=None, **more):
        """A file of the same weights at a pair, or without one."""
        state = self.model.state_dict()
        for coefficient, value in zip(('alpha', 'beta'), pair or (None, None)):
            key = f'backbone.dual_residual.{coefficient}'
            if value is None:
                del state[key]
            else:
                state[key] = torch.tensor(value, dtype=torch.float64)
        path = self.toy.folder / f'{name}.pth'
        torch.save(dict(meta={}, state_dict=state, **more), str(path))
        return str(path)

    def test(self, checkpoint, *options):
        """(alpha, beta) during the test, and the scores of its predictions."""
        out = self.toy.folder / 'out.pkl'
        assert self.evaluate(self.toy, checkpoint, '--out', str(out), *options) == 0
        with open(str(out), 'rb') as file:
            predictions = pickle.load(file)
        scores = torch.cat([p['pred_instances']['scores'] for p in predictions])
        model = self.runners[-1].model
        backbone = getattr(model, 'module', model).backbone
        return (backbone.alpha, backbone.beta), scores


@pytest.fixture
def detector(toy_run, evaluate, monkeypatch):
    return Detector(toy_run, evaluate, monkeypatch)


def test_those_of_the_checkpoint_win_over_those_of_the_config(detector):
    pair, scores = detector.test(detector.checkpoint('trained', (0.4, 0.6)))
    assert pair == (0.4, 0.6)
    options = ['--cfg-options', 'model.backbone.dual_residual.alpha=0.4']
    options.append('model.backbone.dual_residual.beta=0.6')
    bare = detector.checkpoint('bare')
    at_the_same, same = detector.test(bare, *options)
    assert at_the_same == (0.4, 0.6) and torch.equal(scores, same)


def test_a_checkpoint_without_them_takes_those_of_the_config(detector):
    pair, scores = detector.test(detector.checkpoint('bare'))
    assert pair == (1.0, 0.1)
    _, others = detector.test(detector.checkpoint('trained', (0.4, 0.6)))
    assert not torch.equal(scores, others)


def test_flipping_at_test_time_keeps_them(detector):
    pair, _ = detector.test(detector.checkpoint('trained', (0.4, 0.6)), '--tta')
    assert pair == (0.4, 0.6)


def test_they_are_those_of_averaged_weights_too(detector):
    toy = detector.toy
    text = toy.config.read_text() + "\ncustom_hooks += [dict(type='EMAHook')]\n"
    toy.config.write_text(text)
    pair, scores = detector.test(detector.checkpoint('trained', (0.4, 0.6)))
    assert pair == (0.4, 0.6)
    detector.toy.config.write_text(text.replace("dict(type='EMAHook')", ''))
    _, plain = detector.test(detector.checkpoint('trained', (0.4, 0.6)))
    assert torch.equal(scores, plain)


@pytest.mark.parametrize('value', [1.5, float('nan')])
def test_coefficients_out_of_range_are_refused(detector, error_line, value):
    checkpoint = detector.checkpoint('odd', (0.4, value))
    assert detector.evaluate(detector.toy, checkpoint) == 2
    assert 'must be a finite number in [0, 1]' in error_line()
