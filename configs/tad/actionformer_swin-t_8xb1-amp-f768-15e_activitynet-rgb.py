_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# The settings of OpenTAD's Re2TAL on ActivityNet.
model = dict(
    localizer=dict(
        _delete_=True,
        type='ActionFormer',
        in_channels=768,
        temporal_length=192,
        channels=256,
        windows=None,
        position_encoding=True,
        label_smoothing=0.1,
        regression_weight=2.0,
        normalizer=dict(initial=200.0),
        test_cfg=dict(sigma=0.7, min_score=0.001, max_num=100, voting_threshold=0.9),
    ),
    temporal_length=192,
)

# The backbone learns at 1e-5.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.01)}),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=10,
        eta_min=0.0,
        by_epoch=True,
        begin=5,
        end=15,
        convert_to_iter_based=True,
    ),
]
