_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# A fixed feature extractor: in eval mode and without gradients.
model = dict(frozen_backbone=True)
