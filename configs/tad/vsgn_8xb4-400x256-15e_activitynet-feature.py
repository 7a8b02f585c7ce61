_base_ = 'mmaction::localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py'

# VSGN on the feature files that mmaction's BMN reads, through mmaction's own data set.
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

model = dict(_delete_=True, type='VSGN', in_channels=400, temporal_length=256)

meta_keys = (
    'video_name',
    'duration_second',
    'duration_frame',
    'annotations',
    'feature_frame',
)
pipeline = [
    dict(type='LoadLocalizationFeature'),
    dict(type='ResizeFeature', length=256),
    dict(type='GenerateLocalizationLabels'),
    dict(type='PackLocalizationInputs', keys=('gt_bbox',), meta_keys=meta_keys),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=pipeline))
test_dataloader = dict(batch_size=4, dataset=dict(pipeline=pipeline))

val_evaluator = dict(
    _delete_=True,
    type='ANetDetectionMetric',
    ann_file='data/ActivityNet/anet_anno_val.json',
    classifier_scores='data/ActivityNet/classifiers/cuhk_val_simp_7.json',
    classifier_top_k=2,
)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=15)
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=True)]
default_hooks = dict(checkpoint=dict(save_best='average_mAP'))
work_dir = './work_dirs/vsgn_8xb4-400x256-15e_activitynet-feature'

auto_scale_lr = dict(enable=False, base_batch_size=32)
