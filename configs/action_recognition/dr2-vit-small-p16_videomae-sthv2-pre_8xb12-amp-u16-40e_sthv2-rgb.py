_base_ = [
    './vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2VisionTransformer'))

# end and end_epoch are chosen: see README.md.
custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=20)]
