_base_ = './dino-4scale_dr2-swin-t_8xb2-12e_coco.py'

custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
        order='alpha_first',
    )
]
