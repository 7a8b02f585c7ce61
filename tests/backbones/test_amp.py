"""Mixed precision by MMEngine's ``AmpOptimWrapper``: scaling, clipping, skipped steps.

MMEngine refuses to build that wrapper on a machine without an accelerator. There its
methods are run with torch's autocast and gradient scaler for the CPU; the same tests
run with the wrapper itself on a GPU.
"""

import math
from typing import Any, Dict, List, NamedTuple

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.engine.reversibility import SampleTaker, measure

BACKBONES = dict(
    swin=dict(
        type='Dr2SwinTransformer', embed_dims=8, depths=(2, 2), num_heads=(1, 2),
        strides=(4, 2), out_indices=(0, 1), window_size=2, drop_path_rate=0.3,
        attn_drop_rate=0.1,
    ),
    swin3d=dict(
        type='Dr2SwinTransformer3D', pretrained2d=False, window_size=(2, 2, 2),
        arch=dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2)), out_indices=(0, 1),
        drop_path_rate=0.3,
    ),
    vit=dict(
        type='Dr2VisionTransformer', img_size=16, patch_size=8, embed_dims=8, depth=3,
        num_heads=2, num_frames=4, drop_path_rate=0.3, init_values=0.5,
        return_feat_map=True, use_mean_pooling=False,
    ),
)  # fmt: skip

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)]


class CpuAmpOptimWrapper(AmpOptimWrapper):
    """``AmpOptimWrapper`` on the CPU: all but its constructor and its autocast."""

    def __init__(self, loss_scale: dict, dtype: str, **kwargs: Any) -> None:
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', **loss_scale)
        self.cast_dtype = getattr(torch, dtype)

    def optim_context(self, model: nn.Module) -> torch.autocast:
        return torch.autocast('cpu', dtype=self.cast_dtype)


class MeanModel(BaseModel):
    """A backbone whose feature maps' means are drawn to one."""

    def __init__(self, backbone: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)

    def forward(self, inputs: Tensor, mode: str = 'loss') -> dict:
        outputs = self.backbone(inputs)
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        means = [output.float().flatten(1).mean(1) for output in outputs]
        return dict(loss=sum((mean - 1).square().sum() for mean in means))


class Trained(NamedTuple):
    """What training left behind, and what it went through."""

    weights: List[Tensor]
    gradients: List[Dict[str, Tensor]]
    losses: List[float]
    scales: List[float]
    taken: List[bool]


class Amp:
    """Trains tiny models in mixed precision."""

    def __init__(self, swin) -> None:
        self.swin = swin

    def model(self, name: str, device: str = 'cpu', **options: Any) -> MeanModel:
        model = MeanModel(dict(BACKBONES[name], dual_residual=options))
        return self.swin.randomize(model).to(device).train()

    def wrapper(self, model: nn.Module, dtype: str, **changes: Any) -> AmpOptimWrapper:
        arguments = dict(
            optimizer=torch.optim.AdamW(model.parameters(), lr=1e-2),
            loss_scale=dict(init_scale=1024.0),
            dtype=dtype,
            clip_grad=dict(max_norm=0.05),
        )
        on_cpu = next(model.parameters()).device.type == 'cpu'
        kind = CpuAmpOptimWrapper if on_cpu else AmpOptimWrapper
        return kind(**{**arguments, **changes})

    def inputs(self, name: str, device: str, seed: int = 0) -> Tensor:
        shape = (2, 3, 16, 16) if name == 'swin' else (2, 3, 4, 16, 16)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(shape, generator=generator).to(device)

    def train(
        self, name: str, device: str, dtype: str, changes: dict, **options: Any
    ) -> Trained:
        """Four steps from the same random state, and notes of each of them."""
        model = self.model(name, device, **options)
        wrapper = self.wrapper(model, dtype, **changes)
        trained = Trained([], [], [], [], [])
        for key, parameter in model.named_parameters():
            parameter.register_hook(
                lambda gradient, key=key: trained.gradients[-1].update({key: gradient})
            )
        torch.manual_seed(5)
        for seed in range(4):
            before = [parameter.detach().clone() for parameter in model.parameters()]
            trained.gradients.append({})
            data = dict(inputs=self.inputs(name, device, seed))
            logs = model.train_step(data, optim_wrapper=wrapper)
            trained.losses.append(float(logs['loss'].detach()))
            trained.scales.append(wrapper.loss_scaler.get_scale())
            trained.taken.append(
                any(not torch.equal(p, b) for p, b in zip(model.parameters(), before))
            )
        trained.weights.extend(p.detach() for p in model.parameters())
        return trained

    def assert_same(self, one: Trained, other: Trained) -> None:
        assert one.losses == other.losses
        assert one.scales == other.scales
        assert one.taken == other.taken
        assert len(one.gradients) == len(other.gradients)
        for mine, theirs in zip(one.gradients, other.gradients):
            assert mine.keys() == theirs.keys()
            for key, gradient in mine.items():
                torch.testing.assert_close(
                    gradient, theirs[key], rtol=0, atol=0, equal_nan=True, msg=key
                )
        assert all(map(torch.equal, one.weights, other.weights))


@pytest.fixture
def amp(swin, monkeypatch):
    if not hasattr(torch, 'amp') or not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('torch before 2.3 has a gradient scaler for CUDA only')
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    return Amp(swin)


# In pieces too: autocast casts the weights of each piece anew.
@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype, chunk', [('float16', 6), ('bfloat16', 'auto')])
@pytest.mark.parametrize('name', BACKBONES)
def test_reversible_and_stored_train_alike_to_the_last_bit(
    amp, name, dtype, chunk, device
):
    reversible = amp.train(name, device, dtype, {}, chunk=chunk, verify=True)
    stored = amp.train(name, device, dtype, {}, chunk=chunk, backprop='stored')
    amp.assert_same(reversible, stored)
    assert all(reversible.taken) and all(map(math.isfinite, reversible.losses))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('name', BACKBONES)
def test_a_step_whose_scale_is_too_high_is_skipped(amp, name, device):
    # 2**40 is beyond every gradient in half precision, 2**8 beyond none.
    scale = dict(init_scale=2.0**40, backoff_factor=2.0**-32)
    results = [
        amp.train(name, device, 'float16', dict(loss_scale=scale), **options)
        for options in (dict(verify=True), dict(backprop='stored'))
    ]
    amp.assert_same(*results)
    assert results[0].taken == [False, True, True, True]
    assert results[0].scales[0] == 2.0**8
    assert not all(bool(g.isfinite().all()) for g in results[0].gradients[0].values())
    assert all(bool(g.isfinite().all()) for g in results[0].gradients[1].values())


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_gradients_are_clipped_behind_the_scale(amp, dtype, device):
    model = amp.model('swin', device)
    norms = []
    for scale in (1.0, 1024.0):
        wrapper = amp.wrapper(model, dtype, loss_scale=dict(init_scale=scale))
        with wrapper.optim_context(model):
            torch.manual_seed(1)
            loss = model(amp.inputs('swin', device))['loss']
        wrapper.backward(loss)
        wrapper.loss_scaler.unscale_(wrapper.optimizer)
        wrapper._clip_grad()
        gradients = [parameter.grad for parameter in model.parameters()]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        model.zero_grad()
    assert norms == pytest.approx([0.05, 0.05], rel=1e-3)


@pytest.mark.parametrize('device', DEVICES)
def test_a_resumed_scaler_goes_on_from_where_it_was(amp, device):
    model = amp.model('swin', device)
    wrapper = amp.wrapper(model, 'float16', loss_scale=dict(init_scale=2.0**40))
    model.train_step(dict(inputs=amp.inputs('swin', device)), optim_wrapper=wrapper)
    state = wrapper.state_dict()
    other = amp.wrapper(amp.model('swin', device), 'float16')
    other.load_state_dict(state)
    assert other.loss_scaler.get_scale() == 2.0**39


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('name', BACKBONES)
def test_exact_arithmetic_measures_no_error_in_mixed_precision(
    amp, name, dtype, device
):
    errors = {}
    for arithmetic in ('exact', 'float'):
        model = amp.model(name, device, arithmetic=arithmetic, alpha=0.5, beta=0.5)
        taker = SampleTaker(model.backbone, samples=1)
        taker.start()
        wrapper = amp.wrapper(model, dtype)
        data = dict(inputs=amp.inputs(name, device))
        model.train_step(data, optim_wrapper=wrapper)
        found = measure(model.backbone, taker.taken())
        errors[arithmetic] = [found.gradient, *found.reconstruction.values()]
    assert not any(errors['exact'])
    assert all(errors['float'])
