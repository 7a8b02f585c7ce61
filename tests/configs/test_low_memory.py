"""The low-memory configs: one hook more, and parts of their model that it finds."""

import pytest
from mmengine.registry import HOOKS

HOOK = dict(type='ActivationCheckpointHook', preset='auto')
DETR = {'neck', 'encoder', 'proposals', 'decoder'}
ROWS = {
    'configs/dino/dino-4scale_dr2-swin-t{}_8xb2-12e_coco.py': DETR,
    'configs/dino/dino-5scale_dr2-swin-l{}_8xb2-12e_coco.py': DETR,
    'configs/mask_rcnn/mask-rcnn_dr2-swin-t-p4-w7_fpn{}_1x_coco.py': {
        'neck',
        'dense_head',
        'roi_head',
    },
    'configs/tad/actionformer_dr2-swin-t{}_8xb1-amp-f768-15e_activitynet-rgb.py': {
        'actionformer'
    },
}


@pytest.mark.parametrize('row', ROWS)
def test_a_low_memory_config_has_one_hook_more(configs, row):
    plain = configs.load(row.format(''))
    changed = configs.difference(plain, configs.load(row.format('_low-memory')))
    assert changed == {
        'custom_hooks': (plain.custom_hooks, [*plain.custom_hooks, HOOK])
    }


@pytest.mark.parametrize('row', [row for row in ROWS if 'swin-l' not in row])
def test_the_hook_finds_parts_of_the_model(configs, row):
    cfg = configs.load(row.format('_low-memory'))
    parts = HOOKS.build(dict(HOOK)).parts(configs.build(cfg))
    assert {part.role for part in parts} == ROWS[row]
