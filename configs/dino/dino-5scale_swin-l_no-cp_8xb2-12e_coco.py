_base_ = 'mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py'

# The base checkpoints its backbone; conventional training stores everything.
model = dict(backbone=dict(with_cp=False))
