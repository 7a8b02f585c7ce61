_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

model = dict(backbone=dict(type='Dr2SwinTransformer3D'))

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
        policy='logarithmic',
    ),
]
