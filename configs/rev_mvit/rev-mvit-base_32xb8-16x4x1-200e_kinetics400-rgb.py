_base_ = [
    'mmaction::recognition/mvit/mvit-small-p244_32xb16-16x4x1-200e_kinetics400-rgb.py',
    '../_base_/import_dr2net.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='RevMViT',
        arch='video-base',
        drop_path_rate=0.05,
    ),
    cls_head=dict(
        _delete_=True,
        type='I3DHead',
        num_classes=400,
        in_channels=1536,
        dropout_ratio=0.5,
        label_smooth_eps=0.1,
        average_clips='prob',
    ),
)

# SlowFast: 256 videos a step, each twice; no gradient clip.
base_lr = 1.6e-3
optim_wrapper = dict(
    optimizer=dict(lr=base_lr, weight_decay=0.07),
    clip_grad=None,
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=50,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=150,
        eta_min=base_lr / 100,
        by_epoch=True,
        begin=50,
        end=200,
        convert_to_iter_based=True,
    ),
]
