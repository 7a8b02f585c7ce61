_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# mmaction's activation checkpointing of every block.
model = dict(backbone=dict(with_cp=True))
