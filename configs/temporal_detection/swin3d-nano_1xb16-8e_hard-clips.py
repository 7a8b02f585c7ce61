"""Recognizer of trimmed clips: the pretraining of the detectors here.

See README.md of this folder.
"""

_base_ = [
    'mmaction::_base_/default_runtime.py',
    '../_base_/models/conventional-swin3d-nano.py',
    '../_base_/import_dr2net.py',
]

model = dict(
    type='Recognizer3D',
    # No weights of images: it begins from random ones.
    backbone=dict(pretrained2d=False),
    cls_head=dict(
        type='I3DHead',
        in_channels=192,
        num_classes=6,
        topk=(1,),
        spatial_type='avg',
        dropout_ratio=0.2,
        average_clips='prob',
    ),
)

data_root = 'data/hard_clips/'
dataset = dict(
    type='VideoDataset', data_root=data_root, data_prefix=dict(video='clips/')
)
# About as far apart as the frames that the detector sees of a whole video.
sample = dict(type='SampleFrames', clip_len=8, frame_interval=4, num_clips=1)
pack = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
train_pipeline = [
    dict(type='DecordInit'),
    sample,
    dict(type='DecordDecode'),
    dict(type='RandomCrop', size=48),
    dict(type='Flip', flip_ratio=0.5),
    *pack,
]
test_pipeline = [
    dict(type='DecordInit'),
    dict(test_mode=True, **sample),
    dict(type='DecordDecode'),
    dict(type='CenterCrop', crop_size=48),
    *pack,
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file='clips_training.txt', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
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

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, convert_to_iter_based=True),
]
max_epochs = 8
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# The detectors of this folder begin with the file of the last epoch.
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=max_epochs, save_best=None, save_optimizer=False),
)
randomness = dict(seed=0)
