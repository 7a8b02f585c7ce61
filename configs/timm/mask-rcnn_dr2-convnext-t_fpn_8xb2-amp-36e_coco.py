_base_ = [
    './mask-rcnn_convnext-t_fpn_8xb2-amp-36e_coco.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2TimmBackbone'))

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=24)]
