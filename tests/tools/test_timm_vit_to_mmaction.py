"""The converter of timm's image ViTs, from file to file."""

from pathlib import Path

import pytest
import torch

# Before timm: cures an import that fails beside a CPU build of torch.
import dr2net_mm  # noqa: F401
from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools/model_converters/timm_vit_to_mmaction.py'


@pytest.fixture
def tool():
    return load_script(SCRIPT)


@pytest.fixture
def source(tmp_path):
    """A state dict as ``torch.save(model.state_dict())`` writes it."""
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3
    )
    with torch.no_grad():
        model.blocks[0].attn.qkv.bias.fill_(0.25)
    path = tmp_path / 'model.pth'
    torch.save(model.state_dict(), str(path))
    return path


def test_the_file_holds_a_backbone_of_a_recognizer(tmp_path, tool, source, capsys):
    target = tmp_path / 'converted.pth'
    arguments = [str(source), str(target), '--img-size', '16', '--num-frames', '4']
    assert tool.main(arguments) == 0
    weights = torch.load(str(target), weights_only=True)['state_dict']
    assert all(name.startswith('backbone.') for name in weights)
    assert weights['backbone.pos_embed'].shape == (1, 32, 8)
    said = capsys.readouterr().out
    assert 'DROPPED NON-ZERO KEY BIASES (up to 0.25)' in said
    assert 'use_learnable_pos_emb=True' in said


def test_a_video_checkpoint_is_no_image_model(tmp_path, tool, source, error_line):
    weights = torch.load(str(source), weights_only=True)
    patches = weights['patch_embed.proj.weight']
    weights['patch_embed.proj.weight'] = patches.unsqueeze(2).repeat(1, 1, 2, 1, 1)
    torch.save(weights, str(source))
    assert tool.main([str(source), str(tmp_path / 'converted.pth')]) == 2
    assert 'a tensor of 4 dimensions is needed' in error_line()


def test_an_unusable_option_is_one_line(tmp_path, tool, source, error_line):
    arguments = [str(source), str(tmp_path / 'converted.pth'), '--tubelet-size', '0']
    assert tool.main(arguments) == 2
    assert 'tubelet size 0; it must be at least 1 frame' in error_line()


def test_the_help_names_a_model_of_another_patch_size(tool):
    assert 'DINOv2' in tool.build_parser().format_help()
