_base_ = './dino-4scale_dr2-swin-t_8xb2-12e_coco.py'

# Custom hooks are one list: those of _base_ are repeated here.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ActivationCheckpointHook', preset='auto'),
]
