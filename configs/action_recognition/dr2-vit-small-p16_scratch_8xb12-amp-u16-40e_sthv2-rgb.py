_base_ = './dr2-vit-small-p16_videomae-sthv2-pre_hard-finetune_8xb12-amp-u16-40e_sthv2-rgb.py'  # noqa: E501

# mmaction's own initialization.
model = dict(
    backbone=dict(
        init_cfg=[
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ]
    )
)
