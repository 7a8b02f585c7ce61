"""Memory of whole networks for point clouds."""

import pytest

from dr2net_mm.analysis.memory.point_memory import main, point_memory

MODEL = dict(
    type='Pix4Point',
    encoder=dict(
        type='Dr2PointViT', embed_dims=384, depth=4, num_heads=6, widths=(192, 384),
    ),
    decoder=dict(type='PointDecoder'),
    head=dict(type='PointSegmentationHead', num_classes=13),
)  # fmt: skip


def test_the_reversible_network_takes_a_quarter_of_the_conventional_one():
    rows = {row['mode']: row for row in point_memory(MODEL, 8, 4096)}
    conventional = rows['conventional']['peak_bytes']
    assert rows['dr2']['peak_bytes'] < conventional / 4
    assert rows['dr2']['kept_bytes'] < rows['checkpoint']['kept_bytes']


def test_another_model_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(['configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py'])
    assert 'has no model of type Pix4Point' in capsys.readouterr().err
