"""timm's models by name, in every mode and for the sizes that are asked for."""

import pytest

from dr2net_mm.analysis.memory.command import backbone_memory
from dr2net_mm.analysis.subjects.backbones import depths_of, named_backbone
from dr2net_mm.analysis.subjects.timm_models import fitted, own_size
from dr2net_mm.errors import UserError

VIT = 'timm:vit_tiny_patch16_224'


def test_a_step_takes_less_than_block_wise_checkpointing():
    backbone = named_backbone(VIT)
    assert own_size(backbone) == (224, 224) and depths_of(backbone) == [12]
    conventional, checkpoint, dr2 = backbone_memory(backbone, 224, 2)
    assert dr2['peak_bytes'] < checkpoint['peak_bytes'] < conventional['peak_bytes']


def test_the_argument_that_a_size_needs_is_found():
    backbone = named_backbone(VIT)
    assert fitted(backbone, [(224, 224)]) == backbone
    assert fitted(backbone, [(96, 64)])['img_size'] == (96, 64)
    assert fitted(backbone, [(96, 64), (64, 64)])['dynamic_img_size'] is True
    with pytest.raises(UserError, match='VisionTransformer is built for'):
        fitted(backbone, [(97, 64)])


def test_what_cannot_be_had_is_named():
    with pytest.raises(UserError, match="no model 'vit_tiny_16'; nearest"):
        named_backbone('timm:vit_tiny_16')
    with pytest.raises(UserError, match='--depths and --width do not go with timm:'):
        named_backbone(VIT, depths=[2])
