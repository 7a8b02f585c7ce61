_base_ = './dino-5scale_dr2-swin-l_8xb2-12e_coco.py'

# Custom hooks are one list: those of _base_ are repeated here.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ActivationCheckpointHook', preset='auto'),
]
