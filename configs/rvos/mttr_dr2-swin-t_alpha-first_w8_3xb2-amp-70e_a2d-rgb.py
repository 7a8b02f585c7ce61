_base_ = './mttr_swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

model = dict(backbone=dict(type='Dr2SwinTransformer3D'))

custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=50,
        interval=2,
        order='alpha_first',
    )
]
