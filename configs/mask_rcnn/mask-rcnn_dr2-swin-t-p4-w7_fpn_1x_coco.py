_base_ = [
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    '../_base_/import_dr2net.py',
    '../_base_/schedules/coefficients.py',
]

model = dict(backbone=dict(type='Dr2SwinTransformer'))
