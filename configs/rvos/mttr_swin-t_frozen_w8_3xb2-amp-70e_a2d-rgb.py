_base_ = './mttr_swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# A fixed feature extractor: in eval mode and without gradients.
model = dict(frozen_backbone=True)
