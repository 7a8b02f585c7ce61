_base_ = [
    'mmaction::recognition/swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py',  # noqa: E501
    '../_base_/import_dr2net.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2SwinTransformer3D'))

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=15)]
