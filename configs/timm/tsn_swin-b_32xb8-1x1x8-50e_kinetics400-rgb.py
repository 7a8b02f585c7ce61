_base_ = [
    'mmaction::recognition/tsn/custom_backbones/tsn_imagenet-pretrained-swin-transformer_32xb8-1x1x8-50e_kinetics400-rgb.py',  # noqa: E501
    '../_base_/import_dr2net.py',
]

# The frames of a video are images of one batch.
model = dict(
    backbone=dict(
        _delete_=True,
        type='ConventionalTimmBackbone',
        model_name='swin_base_patch4_window7_224',
        out_indices=[-1],
        output_norm=True,
        single_output=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='swin_base_patch4_window7_224_22kto1k.pth'
        ),
    )
)
