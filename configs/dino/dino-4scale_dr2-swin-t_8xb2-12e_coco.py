_base_ = [
    './dino-4scale_swin-t_8xb2-12e_coco.py',
    '../_base_/import_dr2net.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2SwinTransformer'))
