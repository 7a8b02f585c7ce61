"""Temporal action detection from raw frames that two CPU cores train in minutes.

Every part of a full run is here and small: see README.md of this folder.
"""

_base_ = 'mmaction::_base_/default_runtime.py'
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

# Frames, height and width that the backbone sees.
video_size = (128, 64, 64)
temporal_length = 128
model = dict(
    type='EndToEndLocalizer',
    backbone=dict(
        type='Dr2SwinTransformer3D',
        arch=dict(embed_dims=48, depths=(2, 2, 2), num_heads=(3, 6, 12)),
        patch_size=(2, 8, 8),
        window_size=(8, 4, 4),
        drop_path_rate=0.0,
        out_indices=(2,),
        dual_residual=dict(arithmetic='exact'),
    ),
    localizer=dict(
        type='VSGN',
        in_channels=192,
        temporal_length=temporal_length,
        channels=128,
        tower_depth=2,
        norm_groups=16,
    ),
    temporal_length=temporal_length,
    # Nothing is pretrained: the norms have to learn too.
    norm_eval=False,
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)

data_root = 'data/spliced_clips/'
dataset = dict(
    type='VideoLocalizationDataset',
    data_root=data_root,
    ann_file='annotations.json',
    data_prefix=dict(video='videos/'),
)
# The whole video, rescaled to a fixed number of frames.
load_video = [
    dict(type='DecordInit'),
    dict(type='SampleWholeVideo', num_frames=video_size[0]),
    dict(type='DecordDecode'),
]
pack = [
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='GenerateSegmentLabels'),
    dict(type='PackVideoLocalizationInputs'),
]
train_pipeline = [
    *load_video,
    dict(type='RandomCrop', size=video_size[1]),
    dict(type='Flip', flip_ratio=0.5),
    *pack,
]
test_pipeline = [*load_video, dict(type='CenterCrop', crop_size=video_size[1]), *pack]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(subset='training', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        subset='validation', pipeline=test_pipeline, test_mode=True, **dataset
    ),
)
test_dataloader = val_dataloader
# Class-agnostic: every annotated segment is of the one class "action".
val_evaluator = dict(
    type='ANetDetectionMetric',
    ann_file=data_root + 'annotations.json',
    class_agnostic=True,
)
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
# The cosine ends where the run does, also when max_epochs is changed.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.05, convert_to_iter_based=True),
]

custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=4,
        interval=2,
    )
]
default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
randomness = dict(seed=0)
