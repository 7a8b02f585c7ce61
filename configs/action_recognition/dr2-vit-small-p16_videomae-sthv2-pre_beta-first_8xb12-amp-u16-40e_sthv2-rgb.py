_base_ = './dr2-vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'

custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=20,
        interval=2,
        order='beta_first',
    )
]
