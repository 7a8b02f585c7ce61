"""Detection of spliced films from raw frames, conventionally, by a pretrained network.

Made for one CPU core: small pictures, few epochs. See README.md of this folder for the
videos, the weights and how the learning rate was chosen.
"""

_base_ = [
    'mmaction::_base_/default_runtime.py',
    '../_base_/models/conventional-swin3d-nano.py',
    '../_base_/import_dr2net.py',
]

# Frames, height and width that the backbone sees.
image_size = (64, 48, 48)
temporal_length = 64
model = dict(
    type='EndToEndLocalizer',
    backbone=dict(
        # The file is of this very network, not of one of images.
        pretrained2d=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='data/weights/hard_clips/epoch_8.pth',
            prefix='backbone.',
        ),
    ),
    localizer=dict(
        type='VSGN',
        in_channels=192,
        temporal_length=temporal_length,
        channels=96,
        tower_depth=2,
        norm_groups=16,
    ),
    temporal_length=temporal_length,
)

data_root = 'data/hard_clips/'
ann_file = 'annotations.json'
dataset = dict(
    type='VideoLocalizationDataset',
    data_root=data_root,
    ann_file=ann_file,
    data_prefix=dict(video='videos/'),
)
# The whole video, rescaled to a fixed number of frames.
load_video = [
    dict(type='DecordInit'),
    dict(type='SampleWholeVideo', num_frames=image_size[0]),
    dict(type='DecordDecode'),
]
pack = [
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='GenerateSegmentLabels'),
    dict(type='PackVideoLocalizationInputs'),
]
train_pipeline = [
    *load_video,
    dict(type='RandomCrop', size=image_size[1]),
    dict(type='Flip', flip_ratio=0.5),
    *pack,
]
test_pipeline = [*load_video, dict(type='CenterCrop', crop_size=image_size[1]), *pack]
loader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(subset='training', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    dataset=dict(
        subset='validation', pipeline=test_pipeline, test_mode=True, **dataset
    ),
    **loader,
)
test_dataloader = dict(
    dataset=dict(subset='testing', pipeline=test_pipeline, test_mode=True, **dataset),
    **loader,
)
# Class-agnostic: every segment is of the one class "action".
evaluator = dict(
    type='ANetDetectionMetric',
    ann_file=data_root + ann_file,
    class_agnostic=True,
    prefix='detection',
)
val_evaluator = dict(subset='validation', **evaluator)
test_evaluator = dict(subset='testing', **evaluator)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    # The localizer is new.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
randomness = dict(seed=0)
