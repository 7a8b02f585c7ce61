_base_ = 'mmaction::recognition/swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb.py'  # noqa: E501

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

model = dict(backbone=dict(type='Dr2SwinTransformer3D'))

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=15,
        interval=2,
    )
]
