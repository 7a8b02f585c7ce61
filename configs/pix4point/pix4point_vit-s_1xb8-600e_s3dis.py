custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)
default_scope = 'mmengine'

# Chosen: the MAE ViT-S of the paper was never published. See README.md.
pretrained = 'https://huggingface.co/timm/vit_small_patch16_224.augreg_in21k/resolve/main/model.safetensors'  # noqa: E501
model = dict(
    type='Pix4Point',
    encoder=dict(
        type='PointViT',
        in_channels=7,
        embed_dims=384,
        depth=12,
        num_heads=6,
        drop_path_rate=0.1,
        widths=(192, 384),
        ratios=(4, 4),
        neighbors=32,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    decoder=dict(type='PointDecoder', channels=384),
    head=dict(type='PointSegmentationHead', num_classes=13, channels=256, dropout=0.5),
    label_smoothing=0.2,
)

data_root = 'data/s3dis/'
spheres = dict(
    type='S3DISDataset',
    data_root=data_root,
    voxel_size=0.04,
    radius=2.0,
    num_points=16384,
    spheres_per_epoch=2000,
)
pack = [dict(type='PointColorNormalize'), dict(type='PackPoints')]
train_pipeline = [
    dict(type='PointColorAutoContrast', prob=0.2),
    dict(type='PointRandomScale', scale=(0.9, 1.1)),
    dict(type='PointRandomRotate'),
    dict(type='PointJitter', sigma=0.005, clip=0.02),
    dict(type='PointColorDrop', prob=0.2),
    *pack,
]
train_dataloader = dict(
    batch_size=8,
    num_workers=6,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='SphereSampler', shuffle=True),
    dataset=dict(areas=[1, 2, 3, 4, 6], pipeline=train_pipeline, **spheres),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=6,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(areas=[5], pipeline=pack, test_mode=True, **spheres),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PointIoUMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
# Not of norms and biases; CLS and its position do decay, as upstream.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=10.0),
)
# From 1e-6 in 10 epochs to 1e-4, and back to 1e-6.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=10),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=10,
        end=600,
        T_max=590,
    ),
]

custom_hooks = []
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', interval=10, max_keep_ckpts=2, save_best='mIoU'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    runtime_info=dict(type='RuntimeInfoHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False

auto_scale_lr = dict(enable=False, base_batch_size=8)
