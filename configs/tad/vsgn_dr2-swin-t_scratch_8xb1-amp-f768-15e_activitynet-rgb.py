_base_ = './vsgn_dr2-swin-t_hard-finetune_8xb1-amp-f768-15e_activitynet-rgb.py'

# mmaction's own initialization; norms that were never trained have to learn.
model = dict(
    freeze_norm=False,
    backbone=dict(
        init_cfg=[
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ]
    ),
)
