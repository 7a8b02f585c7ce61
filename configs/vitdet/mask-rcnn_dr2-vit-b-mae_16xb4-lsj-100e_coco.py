_base_ = './mask-rcnn_vit-b-mae_16xb4-lsj-100e_coco.py'

model = dict(backbone=dict(type='Dr2TimmBackbone'))

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=20,
        interval=2,
    )
]
