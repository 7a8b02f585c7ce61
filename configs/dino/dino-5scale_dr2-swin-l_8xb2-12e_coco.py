_base_ = 'mmdet::dino/dino-5scale_swin-l_8xb2-12e_coco.py'

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

model = dict(backbone=dict(type='Dr2SwinTransformer', with_cp=False))

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
    )
]
