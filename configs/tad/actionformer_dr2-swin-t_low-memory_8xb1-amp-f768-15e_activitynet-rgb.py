_base_ = './actionformer_dr2-swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# Custom hooks are one list: those of _base_ are repeated here.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ActivationCheckpointHook', preset='auto'),
]
