_base_ = './mask-rcnn_dr2-swin-t-p4-w7_fpn_1x_coco.py'

# Custom hooks are one list: those of _base_ are repeated here.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ActivationCheckpointHook', preset='auto'),
]
