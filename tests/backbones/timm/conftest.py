"""Narrow and shallow instances of every family of timm models."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import pytest
import timm
import torch
from torch import Tensor, nn

from dr2net_mm.backbones import Dr2TimmBackbone

PLAIN = dict(embed_dim=32, depth=3, num_heads=2, img_size=32, patch_size=8)


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
    """

    model: str
    arguments: Dict[str, Any]
    size: int = 32
    out_indices: Tuple[int, ...] = (0, 2)
    exact: bool = True
    norm: bool = True


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
    arguments = dict(case.arguments, out_indices=case.out_indices, **kwargs)
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
