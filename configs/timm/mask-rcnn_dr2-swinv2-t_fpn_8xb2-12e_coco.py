_base_ = 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py'

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='Dr2TimmBackbone',
        model_name='swinv2_tiny_window8_256.ms_in1k',
        strict_img_size=False,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained', checkpoint='swinv2_tiny_patch4_window8_256.pth'
        ),
    )
)

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
