_base_ = [
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    '../_base_/import_dr2net.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConventionalTimmBackbone',
        model_name='swinv2_tiny_window8_256.ms_in1k',
        strict_img_size=False,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained', checkpoint='swinv2_tiny_patch4_window8_256.pth'
        ),
    )
)
