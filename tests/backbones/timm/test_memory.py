"""Memory of a training step of every family, counted on published small models."""

from typing import Any, Dict, Type

import pytest
import torch
from torch import nn

from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.backbones import Dr2TimmBackbone
from dr2net_mm.backbones.timm.conventional import ConventionalTimmBackbone

#: A part of the blocks, where that can be said: more make the difference larger.
SHALLOW = dict(depth=4)
NO_DEEP_STAGE = dict(depths=(2, 2, 2, 2))

#: The published small model of each family, at its own size of images.
MODELS: Dict[str, Dict[str, Any]] = {
    'vit_small_patch16_224': SHALLOW,
    'vit_base_patch16_clip_224': {},
    'vit_small_patch14_reg4_dinov2': SHALLOW,
    'deit_small_distilled_patch16_224': SHALLOW,
    'deit3_small_patch16_224': SHALLOW,
    'beit_base_patch16_224': {},
    'eva02_small_patch14_224': SHALLOW,
    'vit_small_patch16_dinov3': SHALLOW,
    'cait_s24_224': SHALLOW,
    'mixer_s16_224': {},
    'resmlp_12_224': {},
    'gmlp_s16_224': {},
    'swin_tiny_patch4_window7_224': NO_DEEP_STAGE,
    'swinv2_tiny_window8_256': NO_DEEP_STAGE,
    'swinv2_cr_tiny_ns_224': NO_DEEP_STAGE,
    'convnext_tiny': NO_DEEP_STAGE,
    'convnextv2_tiny': NO_DEEP_STAGE,
    'hiera_tiny_224': {},
    'mvitv2_tiny': {},
    'pvt_v2_b1': NO_DEEP_STAGE,
    'maxvit_tiny_tf_224': {},
    'coatnet_0_rw_224': {},
    'focalnet_tiny_srf': {},
    'twins_svt_small': NO_DEEP_STAGE,
    'twins_pcpvt_small': NO_DEEP_STAGE,
    'poolformer_s12': {},
    'caformer_s18': {},
    'resnetv2_50x1_bit': {},
}


def peak(cls: Type[nn.Module], name: str, size: int = 0, batch: int = 4, **more) -> int:
    """Peak of activations of a step, in bytes."""
    with torch.device('meta'):
        model = cls(name, norm_eval=True, **more).to('meta').train()
    shape = (size, size) if size else model.family.own_size()
    images = torch.empty(batch, 3, *shape, device='meta')
    return measure_step(model, images).peak_bytes


@pytest.mark.parametrize('name', MODELS)
def test_a_step_takes_less_than_checkpointed_blocks(name: str) -> None:
    checkpointed = peak(ConventionalTimmBackbone, name, with_cp=True, **MODELS[name])
    assert peak(Dr2TimmBackbone, name, **MODELS[name]) < checkpointed


def test_vit_b_at_1024_takes_less_than_two_fifths_of_checkpointing() -> None:
    name, arguments = 'vit_base_patch16_224', dict(size=1024, batch=2, img_size=1024)
    checkpointed = peak(ConventionalTimmBackbone, name, with_cp=True, **arguments)
    assert peak(Dr2TimmBackbone, name, **arguments) < 0.4 * checkpointed
