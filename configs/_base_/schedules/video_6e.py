# Six epochs of a small video model, and what is logged and saved of them.
_base_ = ['mmaction::_base_/default_runtime.py', './coefficients.py']

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

custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=4)]
default_hooks = dict(
    logger=dict(interval=5),
    checkpoint=dict(interval=1, max_keep_ckpts=1, save_best=None),
)
randomness = dict(seed=0)
