_base_ = 'mmaction::_base_/default_runtime.py'

# MTTR and its data path are ours: this import is needed without Dr2Net too.
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

window_size = 8
# Made by tools/model_converters/mttr_to_mm.py --video-swin, see README.md.
pretrained = 'pretrained/video-swin-tiny_k400_mttr.pth'
model = dict(
    type='MTTR',
    backbone=dict(
        type='ConventionalSwinTransformer3D',
        arch=dict(embed_dims=96, depths=(2, 2, 6), num_heads=(3, 6, 12)),
        pretrained=None,
        pretrained2d=False,
        patch_size=(1, 4, 4),
        window_size=(8, 7, 7),
        # 0.1 over the twelve blocks of Swin-T, of which ten remain.
        drop_path_rate=0.1 * 9 / 11,
        out_indices=(0, 1, 2),
        output_norm=False,
        with_cp=False,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained, prefix='backbone.'),
    ),
    text_encoder=dict(type='RobertaTextEncoder', pretrained='roberta-base'),
    data_preprocessor=dict(
        type='ReferringVideoPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)

data_root = 'data/a2d_sentences/'
load = [
    dict(type='LoadVideoWindow'),
    dict(type='LoadA2DMasks'),
]
train_pipeline = [
    *load,
    dict(type='FlipWithText', prob=0.5),
    dict(type='ResizeWindow', short=320, long=576),
    dict(type='PackReferringInputs'),
]
test_pipeline = [
    *load,
    dict(type='ResizeWindow', short=320, long=576),
    dict(type='PackReferringInputs', with_truth=True),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='A2DSentencesDataset',
        data_root=data_root,
        subset='train',
        window_size=window_size,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='A2DSentencesDataset',
        data_root=data_root,
        subset='test',
        window_size=window_size,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ReferringSegmentationMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=70, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Weight decay is on norms and biases too. The text encoder's rate applies where it is
# not frozen.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'text_encoder': dict(lr_mult=0.5),
        }
    ),
    clip_grad=dict(max_norm=0.1),
)
param_scheduler = [
    dict(type='MultiStepLR', milestones=[50], gamma=0.4, by_epoch=True, end=70)
]

custom_hooks = []
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=3, save_best='rvos/mAP'),
    sentence_length=dict(type='SentenceLengthHook'),
)
randomness = dict(seed=42, diff_rank_seed=True)

auto_scale_lr = dict(enable=False, base_batch_size=6)
