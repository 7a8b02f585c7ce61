_base_ = 'mmaction::_base_/default_runtime.py'

# VSGN and the data path from video files are ours: this import is needed without
# Dr2Net too.
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

num_frames = 768
temporal_length = 256
pretrained = 'https://download.openmmlab.com/mmaction/v1.0/recognition/swin/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb/swin-tiny-p244-w877_in1k-pre_8xb8-amp-32x2x1-30e_kinetics400-rgb_20220930-241016b2.pth'  # noqa: E501
model = dict(
    type='EndToEndLocalizer',
    backbone=dict(
        type='SwinTransformer3D',
        arch='tiny',
        pretrained=None,
        pretrained2d=False,
        patch_size=(2, 4, 4),
        window_size=(8, 7, 7),
        mlp_ratio=4.0,
        qkv_bias=True,
        qk_scale=None,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        drop_path_rate=0.2,
        patch_norm=True,
        with_cp=False,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.'),
    ),
    localizer=dict(
        type='VSGN',
        in_channels=768,
        temporal_length=temporal_length,
        use_graph=True,
        num_neighbors=10,
    ),
    temporal_length=temporal_length,
    # OpenTAD's norm_eval does both.
    norm_eval=True,
    freeze_norm=True,
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)

data_root = 'data/ActivityNet/'
ann_file = 'annotations/activity_net.v1-3.min.json'
blocked_videos = data_root + 'annotations/blocked.json'
classifier_scores = data_root + 'classifiers/cuhk_val_simp_7.json'
dataset = dict(
    type='VideoLocalizationDataset',
    data_root=data_root,
    ann_file=ann_file,
    data_prefix=dict(video='videos/'),
    wrong_segments='drop',
)
# The whole video, rescaled to a fixed number of frames.
load_video = [
    dict(type='DecordFileInit'),
    dict(type='SampleWholeVideo', num_frames=num_frames),
    dict(type='DecordDecode'),
]
pack = [
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='GenerateSegmentLabels'),
    dict(type='PackVideoLocalizationInputs'),
]
# Flips and crops are the same for every frame of a video.
train_pipeline = [
    *load_video,
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    dict(type='ColorJitter'),
    *pack,
]
test_pipeline = [
    *load_video,
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    *pack,
]
train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        subset='training',
        unreadable_videos='drop',
        filter_cfg=dict(filter_empty_gt=True, min_relative_length=0.01),
        pipeline=train_pipeline,
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        subset='validation',
        blocked_videos=blocked_videos,
        pipeline=test_pipeline,
        test_mode=True,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='ANetDetectionMetric',
    ann_file=data_root + ann_file,
    subset='validation',
    blocked_videos=blocked_videos,
    classifier_scores=classifier_scores,
    classifier_top_k=2,
)
test_evaluator = val_evaluator

# Reading every validation video takes long: not before the last epochs.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=15, val_begin=8, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The backbone learns at 1e-5.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=True)]

custom_hooks = [dict(type='EMAHook', momentum=0.001)]
default_hooks = dict(
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='average_mAP'),
)

auto_scale_lr = dict(enable=False, base_batch_size=8)
