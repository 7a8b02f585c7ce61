"""From a VideoMAE pretraining checkpoint to a tested dual-residual recognizer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fixtures.scripts import load_script
from tests.fixtures.videomae import block_shapes

ROOT = Path(__file__).resolve().parents[2]
CONVERTER = ROOT / 'tools/model_converters/videomae_to_mmaction.py'
RECIPE = (
    'configs/action_recognition/'
    'dr2-vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'
)
DIMS = 24
# The recipe, with a network, a data set and a schedule for a CPU.
CONFIG = """
_base_ = {recipe!r}
model = dict(
    backbone=dict(
        embed_dims={dims}, depth=1, num_heads=2, init_cfg=dict(checkpoint={weights!r})
    ),
    cls_head=dict(in_channels={dims}),
)
optim_wrapper = dict(type='OptimWrapper', paramwise_cfg=dict(num_layers=1))
loader = dict(batch_size=2, num_workers=0, persistent_workers=False)
data = dict(ann_file={root!r} + '/list.txt', data_prefix=dict(video={root!r}))
train_dataloader = dict(**loader, dataset=data)
val_dataloader = dict(**loader, dataset=data)
test_dataloader = dict(**loader, dataset=data)
train_cfg = dict(max_epochs=2)
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
custom_hooks = [
    dict(type='Dr2CoefficientHook', start=(1.0, 0.1), end=(0.3, 0.7), end_epoch=1)
]
randomness = dict(seed=0)
work_dir = {work_dir!r}
"""


def pretraining_weights():
    """A pretraining checkpoint of one block for frames of 224 pixels."""
    shapes = {
        'encoder.patch_embed.proj.weight': (DIMS, 3, 2, 16, 16),
        'encoder.patch_embed.proj.bias': (DIMS,),
        'encoder.norm.weight': (DIMS,),
        'encoder.norm.bias': (DIMS,),
        'decoder.norm.bias': (8,),
        'mask_token': (1, 1, 8),
    }
    shapes.update(
        {f'encoder.blocks.0.{name}': s for name, s in block_shapes(DIMS).items()}
    )
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.1 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


def write_films(folder):
    import cv2

    for index in range(2):
        path = str(folder / f'{index}.mp4')
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'mp4v'), 12, (64, 48))
        assert writer.isOpened()
        for frame in range(20):
            writer.write(np.full((48, 64, 3), 10 * frame, np.uint8))
        writer.release()
    (folder / 'list.txt').write_text('0.mp4 5\n1.mp4 11\n')


@pytest.fixture
def finetuning(toy_run):
    """The toy run's folder with films, a checkpoint of VideoMAE and our recipe."""
    write_films(toy_run.folder)
    torch.save(
        dict(model=pretraining_weights()), str(toy_run.folder / 'checkpoint-2399.pth')
    )
    toy_run.weights = toy_run.folder / 'converted.pth'
    text = CONFIG.format(
        recipe=str(ROOT / RECIPE),
        dims=DIMS,
        weights=str(toy_run.weights),
        root=str(toy_run.folder),
        work_dir=str(toy_run.work_dir),
    )
    toy_run.config.write_text(text)
    return toy_run


def convert(run):
    module = load_script(CONVERTER)
    source = run.folder / 'checkpoint-2399.pth'
    return module.main([str(source), str(run.weights)])


def test_a_pretraining_checkpoint_is_converted_finetuned_and_tested(
    finetuning, train, evaluate, capfd
):
    assert convert(finetuning) == 0
    assert train(finetuning) == 0
    said = capfd.readouterr()
    assert 'do not match exactly' not in said.out + said.err
    path = finetuning.work_dir / 'epoch_2.pth'
    saved = torch.load(str(path), weights_only=True)['state_dict']
    assert float(saved['backbone.dual_residual.alpha']) == pytest.approx(0.3)
    assert float(saved['backbone.dual_residual.beta']) == pytest.approx(0.7)
    # Two steps at less than a thousandth of the rate leave the weights where they were.
    qkv = saved['backbone.blocks.0.attn.qkv.weight']
    pretrained = pretraining_weights()['encoder.blocks.0.attn.qkv.weight']
    assert torch.allclose(qkv, pretrained, atol=1e-3)
    assert evaluate(finetuning, str(path)) == 0
    assert 'acc/top1' in capfd.readouterr().out


def test_without_the_converted_checkpoint_the_run_does_not_start(
    finetuning, train, error_line
):
    assert train(finetuning) == 2
    assert str(finetuning.weights) in error_line()


def test_a_truncated_video_is_named(finetuning, train, error_line):
    assert convert(finetuning) == 0
    film = finetuning.folder / '1.mp4'
    film.write_bytes(film.read_bytes()[:300])
    assert train(finetuning) == 2
    assert str(film) in error_line()
