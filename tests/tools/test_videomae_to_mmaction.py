"""The converter of VideoMAE checkpoints, from file to file."""

import argparse
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import load_state_dict

from tests.fixtures.scripts import load_script
from tests.fixtures.videomae import block_shapes

SCRIPT = Path(__file__).parents[2] / 'tools/model_converters/videomae_to_mmaction.py'
DIMS, CLASSES = 8, 3


def original_weights():
    """A finetuned network of one block, for two frames of 4 pixels."""
    shapes = {
        'patch_embed.proj.weight': (DIMS, 3, 2, 4, 4),
        'patch_embed.proj.bias': (DIMS,),
        'fc_norm.weight': (DIMS,),
        'fc_norm.bias': (DIMS,),
        'head.weight': (CLASSES, DIMS),
        'head.bias': (CLASSES,),
    }
    shapes.update(
        {f'blocks.0.{name}': shape for name, shape in block_shapes(DIMS).items()}
    )
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def recognizer():
    from mmaction.utils import register_all_modules
    from mmengine.registry import MODELS

    register_all_modules()
    backbone = dict(
        type='VisionTransformer', img_size=4, patch_size=4, embed_dims=DIMS, depth=1,
        num_heads=2, num_frames=2,
    )  # fmt: skip
    head = dict(type='TimeSformerHead', num_classes=CLASSES, in_channels=DIMS)
    return MODELS.build(dict(type='Recognizer3D', backbone=backbone, cls_head=head))


@pytest.fixture
def tool():
    return load_script(SCRIPT)


@pytest.fixture
def convert(tool):
    def run(source, target, *options):
        clip = ['--img-size', '4', '--num-frames', '2']
        return tool.main([str(source), str(target), *clip, *options])

    return run


@pytest.fixture
def source(tmp_path):
    """A file as the scripts of VideoMAE save it, with their command line in it."""
    path = tmp_path / 'checkpoint-best.pth'
    arguments = argparse.Namespace(model='vit_small_patch16_224', epochs=40)
    torch.save(dict(model=original_weights(), epoch=39, args=arguments), str(path))
    return path


def test_mmengine_loads_the_converted_file_strictly(tmp_path, source, convert, capsys):
    target = tmp_path / 'converted.pth'
    assert convert(source, target) == 0
    content = torch.load(str(target), weights_only=True)
    assert 'videomae_to_mmaction.py' in content['meta']['converted_by']
    load_state_dict(recognizer(), content['state_dict'], strict=True)
    said = capsys.readouterr().out
    assert 'added sine and cosine positions of 2 frames of 4 x 4 pixels' in said
    assert f'wrote 20 tensors to {target}' in said


def test_the_backbone_that_is_printed_loads_what_was_converted(
    tmp_path, source, convert, capsys
):
    target = tmp_path / 'converted.pth'
    assert convert(source, target) == 0
    printed = capsys.readouterr().out
    text = printed[printed.index('backbone=') :]
    scope = {}
    exec(text, scope)
    model = recognizer()
    assert scope['backbone']['embed_dims'] == DIMS
    model.backbone.init_cfg = scope['backbone']['init_cfg']
    model.backbone.init_weights()
    weights = torch.load(str(source), weights_only=False)['model']
    qkv = model.backbone.blocks[0].attn.qkv.weight
    assert torch.equal(qkv, weights['blocks.0.attn.qkv.weight'])


def test_a_file_goes_there_and_back_without_a_changed_bit(tmp_path, source, convert):
    there, back = tmp_path / 'there.pth', tmp_path / 'back.pth'
    assert convert(source, there) == 0
    assert convert(there, back, '--to-original') == 0
    original = torch.load(str(source), weights_only=False)['model']
    returned = torch.load(str(back), weights_only=True)['model']
    assert original.keys() == returned.keys()
    assert all(torch.equal(original[name], returned[name]) for name in original)


def test_a_safetensors_file_is_read_too(tmp_path, convert):
    safetensors = pytest.importorskip('safetensors.torch')
    path = tmp_path / 'model.safetensors'
    safetensors.save_file(original_weights(), str(path))
    assert convert(path, tmp_path / 'converted.pth') == 0


class Stranger:
    """An object of a class that no checkpoint should need."""


def damaged(source):
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])


def strange(source):
    torch.save(dict(model=original_weights(), extra=Stranger()), str(source))


def weightless(source):
    torch.save([1, 2], str(source))


def text(source):
    source.write_text('<html>quota exceeded</html>')


def mixed(source):
    torch.save(dict(original_weights(), epoch=3), str(source))


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (damaged, 'is truncated'),
        (strange, 'a function or class that is not loaded unasked'),
        (weightless, 'holds no dictionary of weights'),
        (text, 'is not a PyTorch checkpoint'),
        (mixed, "'epoch' is of type int"),
    ],
)
def test_an_unusable_file_is_named_and_nothing_is_written(
    spoil, message, tmp_path, source, convert, error_line
):
    spoil(source)
    assert convert(source, tmp_path / 'converted.pth') == 2
    line = error_line()
    assert str(source) in line and message in line
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_a_missing_file_is_named(tmp_path, convert, error_line):
    assert convert(tmp_path / 'absent.pth', tmp_path / 'converted.pth') == 2
    assert 'absent.pth' in error_line()


def test_a_checkpoint_is_not_overwritten_by_itself(source, convert, error_line):
    before = source.read_bytes()
    assert convert(source, source) == 2
    assert 'is the checkpoint itself' in error_line()
    assert source.read_bytes() == before


def test_a_folder_is_no_file_to_write(tmp_path, source, convert, error_line):
    assert convert(source, tmp_path) == 2
    assert 'is a folder' in error_line()


def test_an_existing_target_survives_a_failure(tmp_path, source, convert, error_line):
    target = tmp_path / 'converted.pth'
    assert convert(source, target) == 0
    before = target.read_bytes()
    shutil.copy(str(target), str(source))
    assert convert(source, target) == 2
    assert '--to-original' in error_line()
    assert target.read_bytes() == before


def test_the_help_shows_how_to_finetune(tool):
    text = tool.build_parser().format_help()
    assert 'checkpoint-2399.pth' in text and 'configs/action_recognition' in text
