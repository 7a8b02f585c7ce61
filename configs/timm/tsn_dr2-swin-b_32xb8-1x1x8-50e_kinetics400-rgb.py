_base_ = [
    './tsn_swin-b_32xb8-1x1x8-50e_kinetics400-rgb.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2TimmBackbone'))

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=25)]
