"""Memory of MTTR as a whole."""

import pytest

from dr2net_mm.analysis.memory.referring_memory import config_model, referring_memory
from dr2net_mm.errors import UserError
from tests.fixtures.mttr import MTTRTools

CONFIG = 'configs/rvos/mttr_dr2-swin-t_w8_3xb2-amp-70e_a2d-rgb.py'


def peaks(mttr, modes, **changes):
    config = mttr.config(**changes)
    arch = dict(embed_dims=24, depths=(2, 2, 2), num_heads=(1, 2, 4))
    backbone = dict(config['backbone'], arch=arch, drop_path_rate=0.0)
    model = dict(config, backbone=backbone)
    rows = referring_memory(model, 8, (64, 96), modes=modes, chunk=256)
    return {row['mode']: row['peak_bytes'] for row in rows}


def test_dual_residual_training_is_below_checkpointing(mttr: MTTRTools):
    found = peaks(mttr, ('conventional', 'checkpoint', 'dr2'))
    assert found['dr2'] < 0.5 * found['checkpoint']
    assert found['dr2'] < 0.2 * found['conventional']


def test_frames_without_annotation_cost_the_backbone_alone(mttr: MTTRTools):
    one = peaks(mttr, ['dr2'])
    assert one['dr2'] < 0.5 * peaks(mttr, ['dr2'], whole_video=True)['dr2']


def test_the_published_size_is_read_from_a_config():
    pytest.importorskip('transformers')
    model = config_model(CONFIG)
    assert model['text_encoder']['config']['vocab_size'] == 50265
    assert model['backbone']['output_norm'] is False
    with pytest.raises(UserError, match='takes MTTR'):
        config_model('configs/dino/dino-4scale_dr2-swin-t_8xb2-12e_coco.py')
