_base_ = './mttr_swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# Windows of twelve frames, all of them annotated, and one query for a whole video.
model = dict(whole_video=True)

data_root = 'data/refer_youtube_vos/'
train_pipeline = [
    dict(type='LoadFrameFiles'),
    dict(type='LoadPaletteMasks'),
    dict(type='FlipWithText', prob=0.5),
    dict(type='ResizeWindow', short=360, long=640),
    dict(type='PackReferringInputs'),
]
test_pipeline = [
    dict(type='LoadFrameFiles'),
    dict(type='ResizeWindow', short=360, long=640),
    dict(type='PackReferringInputs'),
]
train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        _delete_=True,
        type='RefYouTubeVOSDataset',
        data_root=data_root,
        subset='train',
        window_size=12,
        pipeline=train_pipeline,
    ),
)
# The annotations of valid are not public: a server evaluates what is written.
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='RefYouTubeVOSDataset',
        data_root=data_root,
        subset='valid',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_evaluator = dict(
    _delete_=True,
    type='VideoObjectMetric',
    submission='work_dirs/ref_youtube_vos/submission.zip',
)

train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(type='MultiStepLR', milestones=[20], gamma=0.4, by_epoch=True, end=30)
]
default_hooks = dict(checkpoint=dict(save_best=None))
auto_scale_lr = dict(base_batch_size=4)
