"""Referring video object segmentation that two CPU cores train in minutes.

Every part of a full run is here and small: see README.md of this folder.
"""

_base_ = 'mmaction::_base_/default_runtime.py'
custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

data_root = 'data/moving_digits/'
window_size = 4
model = dict(
    type='MTTR',
    backbone=dict(
        type='Dr2SwinTransformer3D',
        arch=dict(embed_dims=32, depths=(2, 2, 2), num_heads=(2, 4, 8)),
        patch_size=(1, 4, 4),
        window_size=(4, 4, 4),
        drop_path_rate=0.0,
        out_indices=(0, 1, 2),
        output_norm=False,
        dual_residual=dict(arithmetic='exact'),
    ),
    # Random and trained: no RoBERTa of this size is published.
    text_encoder=dict(
        type='RobertaTextEncoder',
        config=dict(
            hidden_size=64,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=66,
        ),
        tokenizer=data_root + 'tokenizer.json',
        frozen=False,
    ),
    backbone_channels=(32, 64, 128),
    embed_dims=64,
    num_queries=6,
    transformer=dict(
        num_heads=4,
        feedforward_channels=128,
        encoder_layers=2,
        decoder_layers=2,
        dropout=0.0,
    ),
)

load = [dict(type='LoadVideoWindow'), dict(type='LoadA2DMasks')]
resize = dict(type='ResizeWindow', short=48, long=80)
# No flips: a mirrored digit is none.
train_pipeline = [*load, resize, dict(type='PackReferringInputs')]
test_pipeline = [*load, resize, dict(type='PackReferringInputs', with_truth=True)]
dataset = dict(type='A2DSentencesDataset', data_root=data_root, window_size=window_size)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(subset='train', pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(subset='test', pipeline=test_pipeline, test_mode=True, **dataset),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ReferringSegmentationMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=2)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
# The cosine ends where the run does, also when max_epochs is changed.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.05, convert_to_iter_based=True),
]

custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=5,
        interval=2,
    )
]
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
    sentence_length=dict(type='SentenceLengthHook'),
)
randomness = dict(seed=0)
