_base_ = './dino-4scale_dr2-swin-t_hard-finetune_8xb2-12e_coco.py'

model = dict(backbone=dict(init_cfg=None))
