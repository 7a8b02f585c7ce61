"""Narrow and shallow instances of every family of timm models."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import pytest
import timm
import torch
from torch import Tensor, nn

from dr2net_mm.backbones import Dr2TimmBackbone
from tests.backbones.timm import tiny_models  # noqa: F401 - registers them

PLAIN = dict(embed_dim=32, depth=3, num_heads=2, img_size=32, patch_size=8)

NARROW = dict(depths=(1, 2, 2, 1), dims=(16, 16, 32, 32))
SWIN = dict(embed_dim=16, depths=(2, 2), num_heads=(2, 2), window_size=4, img_size=64)
TWINS = dict(
    embed_dims=(16, 16, 32, 32),
    num_heads=(1, 1, 2, 2),
    depths=(1, 2, 2, 2),
    img_size=64,
)


class Case(NamedTuple):
    """A small model.

    Attributes:
        model: timm's name.
        arguments: Arguments that make it small.
        size: Height and width of its images.
        out_indices: Feature maps that are compared.
        exact: Whether every block has branches of its own, so that the features at
            (1, 0) are timm's bit for bit.
        norm: Whether timm applies the last norm to features.
        eval_norms: Whether there are BatchNorm layers.
    """

    model: str
    arguments: Dict[str, Any] = {}
    size: int = 32
    out_indices: Tuple[int, ...] = (0, 2)
    exact: bool = True
    norm: bool = True
    eval_norms: bool = False


CASES: Dict[str, Case] = {
    'vit': Case('vit_small_patch16_224', PLAIN),
    'vit-22b': Case('vit_medium_patch16_rope_reg1_gap_256', PLAIN),
    'deit': Case('deit_tiny_distilled_patch16_224', PLAIN),
    'deit3': Case('deit3_small_patch16_224', PLAIN),
    'clip': Case('vit_base_patch16_clip_224', PLAIN),
    'siglip': Case('vit_base_patch16_siglip_224', PLAIN),
    'dinov2': Case('vit_small_patch14_dinov2', PLAIN),
    'dinov2-reg': Case('vit_small_patch14_reg4_dinov2', PLAIN),
    'beit': Case('beit_base_patch16_224', PLAIN),
    'eva02': Case('eva02_tiny_patch14_224', PLAIN),
    'dinov3': Case('vit_small_patch16_dinov3', PLAIN),
    'rope-mixed': Case('vit_small_patch16_rope_mixed_224', PLAIN),
    'swin': Case('swin_tiny_patch4_window7_224', SWIN, 64, (0, 1)),
    'swinv2': Case('swinv2_tiny_window8_256', SWIN, 64, (0, 1)),
    'swinv2-cr': Case(
        'swinv2_cr_tiny_ns_224',
        dict(SWIN, extra_norm_period=2),
        64,
        (0, 1),
        exact=False,
        norm=False,
    ),
    'convnext': Case('convnext_tiny', NARROW, 64, (1, 3)),
    'convnextv2': Case('convnextv2_tiny', NARROW, 64, (1, 3)),
    'mixer': Case('tiny_mixer'),
    'resmlp': Case('tiny_resmlp'),
    'gmlp': Case('tiny_gmlp'),
    'cait': Case('cait_xxs24_224', PLAIN),
    'hiera': Case(
        'hiera_tiny_224',
        dict(embed_dim=16, num_heads=1, stages=(1, 2, 2, 1), img_size=64),
        64,
        (1, 3),
        norm=False,
    ),
    'mvitv2': Case('tiny_mvit', dict(img_size=64), 64, (1, 3)),
    'pvtv2': Case('tiny_pvt', {}, 64, (1, 3), norm=False),
    'maxvit': Case('tiny_maxvit', {}, 64, (0, 2, 4), eval_norms=True),
    'coatnet': Case('tiny_coatnet', {}, 64, (0, 2, 4), eval_norms=True),
    'focalnet': Case('tiny_focalnet', {}, 64, (1, 3)),
    'twins-svt': Case('twins_svt_small', TWINS, 64, (1, 3)),
    'twins-pcpvt': Case('twins_pcpvt_small', TWINS, 64, (1, 3)),
    'poolformer': Case('tiny_poolformer', {}, 64, (1, 3), norm=False),
    'caformer': Case('tiny_caformer', {}, 64, (1, 3), exact=False, norm=False),
    'bit': Case('tiny_bit', {}, 64, (0, 2, 4)),
}


@pytest.fixture(params=CASES)
def case(request) -> Case:
    return CASES[request.param]


_TWINS: Dict[Tuple[str, str], nn.Module] = {}


def twin_of(case: Case) -> nn.Module:
    """timm's own model in evaluation mode, with scales and biases that matter."""
    key = (case.model, str(case.arguments))
    if key not in _TWINS:
        model = timm.create_model(case.model, num_classes=0, **case.arguments).eval()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                # Layer scales are tiny and biases zero in a new model.
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise, alpha=0.3 if parameter.dim() < 2 else 0.05)
        _TWINS[key] = model
    return _TWINS[key]


@pytest.fixture
def twin(case: Case) -> nn.Module:
    return twin_of(case)


def built(case: Case, dual_residual: Optional[dict] = None, **kwargs) -> nn.Module:
    """The backbone of a case with its twin's weights, in training mode."""
    arguments = dict(
        case.arguments,
        out_indices=case.out_indices,
        norm_eval=case.eval_norms,
        **kwargs,
    )
    model = Dr2TimmBackbone(case.model, dual_residual=dual_residual, **arguments)
    own = model.state_dict()
    weights = twin_of(case).state_dict()
    model.load_state_dict({k: v for k, v in weights.items() if k in own})
    return model.train()


@pytest.fixture
def build(case: Case) -> Callable[..., nn.Module]:
    return lambda **kwargs: built(case, **kwargs)


@pytest.fixture
def images(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, case.size, case.size, generator=generator)


def gradients_of(model: nn.Module, images: Tensor, autocast: bool) -> List[Tensor]:
    """Gradients of images and parameters under a loss of all feature maps."""
    images = images.clone().requires_grad_()
    torch.manual_seed(3)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        outputs = model(images)
    sum((i + 1) * out.float().sin().sum() for i, out in enumerate(outputs)).backward()
    return [images.grad, *(parameter.grad for parameter in model.parameters())]


@pytest.fixture
def gradients() -> Callable[..., List[Tensor]]:
    return gradients_of
