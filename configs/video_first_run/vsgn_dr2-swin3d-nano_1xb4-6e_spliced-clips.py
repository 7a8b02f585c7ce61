"""Temporal action detection from raw frames that two CPU cores train in minutes.

Every part of a full run is here and small: see README.md of this folder.
"""

_base_ = [
    '../_base_/models/swin3d-nano.py',
    '../_base_/schedules/video_6e.py',
    '../_base_/import_dr2net.py',
]

# Frames, height and width that the backbone sees.
video_size = (128, 64, 64)
temporal_length = 128
model = dict(
    type='EndToEndLocalizer',
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

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(_base_.param_scheduler[0], end=30), _base_.param_scheduler[1]]
default_hooks = dict(logger=dict(interval=4))
