"""A backbone that only its own module knows works with every tool and export."""

from typing import List

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.analysis.gradients.probe import GradientErrorProbe
from dr2net_mm.analysis.memory.command import backbone_memory, budget_memory
from dr2net_mm.analysis.subjects.backbones import (
    config_backbone,
    conventional_backbone,
    depths_of,
    reversible_backbone,
    with_depths,
)
from dr2net_mm.backbones.base.counted_costs import CountedCosts
from dr2net_mm.errors import UserError
from dr2net_mm.export.onnx_export import export_onnx
from dr2net_mm.export.plain import export_plain
from dr2net_mm.export.plain_config import plain_backbone
from dr2net_mm.launch.parallel_checks import check_parallel
from dr2net_mm.reversible import FunctionBranch


def block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(channels),
        nn.Linear(channels, 4 * channels),
        nn.GELU(),
        nn.Linear(4 * channels, channels),
    )


@MODELS.register_module()
class PatchMixer(BaseModule):
    """A network of somebody else: patches of 4 pixels, and blocks x + F(x)."""

    def __init__(self, channels=8, depth=4, init_cfg=None):
        super().__init__(init_cfg)
        self.embed = nn.Conv2d(3, channels, 4, 4)
        self.blocks = nn.ModuleList(block(channels) for _ in range(depth))

    def tokens(self, x: Tensor) -> Tensor:
        return self.embed(x).flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        for one in self.blocks:
            # What is added is formed in one place, so that it can be checkpointed.
            x = x + one(x)
        return x.mean(dim=1)


@MODELS.register_module()
class Dr2PatchMixer(CountedCosts, PatchMixer):
    """The same as a dual-residual network, in the few lines that a new one takes."""

    plain_class = 'mmengine.PatchMixer'
    checkpointed_lists = ('blocks',)

    def __init__(self, *args, dual_residual=None, **kwargs):
        super().__init__(*args, **kwargs)
        self._init_dual_residual(dual_residual, 1, ('last', 'mean'))

    def example_size(self):
        return (3, 16, 24)

    def forward(self, x: Tensor) -> Tensor:
        branches: List[FunctionBranch] = [FunctionBranch(one) for one in self.blocks]
        plan = self._counted_plan(x)
        tokens = self._recomputed(self.tokens, x)
        return self._run_stage(0, tokens, branches, self._finish, (), plan)[0]

    @staticmethod
    def _finish(tokens: Tensor) -> tuple:
        return (tokens.mean(dim=1),)


PLAIN = dict(type='PatchMixer', channels=8, depth=4)
SIZE = (16, 24)


@pytest.mark.parametrize('name', ['PatchMixer', 'Dr2PatchMixer', 'mmengine.PatchMixer'])
def test_it_is_known_by_its_name_and_by_that_of_its_twin(name):
    backbone = dict(PLAIN, type=name)
    assert conventional_backbone(backbone)['type'] == 'mmengine.PatchMixer'
    assert reversible_backbone(backbone, beta=0.1)['type'] == 'Dr2PatchMixer'
    assert depths_of(backbone) == [4]
    assert with_depths(backbone, [2])['depth'] == 2


def test_a_config_that_names_it_is_read(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f'model = dict(backbone={PLAIN!r})\n')
    assert config_backbone(str(path)) == PLAIN


def test_its_memory_is_counted_in_every_mode():
    modes = ('conventional', 'checkpoint', 'dr2')
    rows = backbone_memory(dict(PLAIN, depth=8), SIZE, batch=2, modes=modes)
    kept = {row['mode']: row['kept_bytes'] for row in rows}
    assert kept['dr2'] < kept['checkpoint'] < kept['conventional']


def test_a_budget_is_planned_and_changes_no_gradient():
    row = budget_memory(PLAIN, 0.5, SIZE, batch=2)
    assert row['plan'] and 0 < row['predicted_bytes']
    gradients = []
    for options in (dict(backprop='stored'), dict(memory_budget=0.5), {}):
        torch.manual_seed(0)
        model = MODELS.build(dict(PLAIN, type='Dr2PatchMixer', dual_residual=options))
        model(model.example_input(2)).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    stored, planned, reversible = gradients
    for wanted, *found in zip(stored, planned, reversible):
        assert wanted.any() and all(torch.equal(one, wanted) for one in found)


def test_its_gradient_error_is_measured():
    probe = GradientErrorProbe(PLAIN, 'exact', SIZE, batch=2)
    error, status = probe.measure(0.5, 0.25)
    assert status == 'ok' and error.relative_error == 0


def trained(**options):
    torch.manual_seed(1)
    dual_residual = dict(alpha=1.0, beta=0.0, **options)
    node = dict(PLAIN, type='Dr2PatchMixer', dual_residual=dual_residual)
    model = MODELS.build(node).eval()
    weights = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    whole = dict(type='Whole', backbone=ConfigDict(node))
    cfg = Config(ConfigDict(model=ConfigDict(whole), default_scope='mmengine'))
    return model, cfg, dict(state_dict=weights)


def test_it_becomes_its_twin_at_one_and_zero():
    model, cfg, checkpoint = trained()
    exported = export_plain(cfg, checkpoint)
    assert exported.config.model.backbone == PLAIN
    twin = MODELS.build(exported.config.model.backbone)
    names = exported.checkpoint['state_dict']
    twin.load_state_dict({k[len('backbone.') :]: v for k, v in names.items()})
    x = model.example_input(3)
    torch.testing.assert_close(twin(x), model(x), rtol=1e-3, atol=1e-3)


def test_it_is_exported_to_onnx():
    onnxruntime = pytest.importorskip('onnxruntime')
    model, _, _ = trained()
    exported = export_onnx(model, model.example_input())
    session = onnxruntime.InferenceSession(exported.content)
    x = model.example_input(2)
    (found,) = session.run(None, {'input': x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), model(x), atol=1e-3, rtol=0)


def test_a_wrapper_that_does_not_work_is_refused_for_it_too():
    _, cfg, _ = trained()
    cfg.model_wrapper_cfg = dict(type='MMDataParallel')
    with pytest.raises(UserError, match='Dr2PatchMixer'):
        check_parallel(cfg)


def test_a_twin_of_this_package_is_no_plain_network():
    with pytest.raises(UserError, match='ConventionalVisionTransformer'):
        plain_backbone(dict(type='RevVisionTransformer'), 'mmengine')
