_base_ = [
    './mask-rcnn_swinv2-t_fpn_8xb2-12e_coco.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2TimmBackbone'))
