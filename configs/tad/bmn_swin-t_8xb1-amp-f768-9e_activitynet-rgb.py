_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# mmaction's BMN with the settings of its bmn_400x100, on the features of a backbone
# that trains.
model = dict(
    localizer=dict(
        _delete_=True,
        type='BMN',
        temporal_dim=100,
        feat_dim=768,
        boundary_ratio=0.5,
        num_samples=32,
        num_samples_per_bin=3,
        soft_nms_alpha=0.4,
        soft_nms_low_threshold=0.5,
        soft_nms_high_threshold=0.9,
        post_process_top_k=100,
        # The features cover the whole video.
        feature_extraction_interval=1,
    ),
    temporal_length=100,
)

train_cfg = dict(max_epochs=9, val_begin=6)

# The backbone learns at 1e-5.
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.01)}),
)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=9, by_epoch=True, milestones=[7], gamma=0.1)
]
