_base_ = './vsgn_dr2-swin-t_vanilla_8xb1-amp-f768-15e_activitynet-rgb.py'

# The paper's arithmetic: activations are reconstructed in floating point.
model = dict(backbone=dict(dual_residual=dict(arithmetic='float')))
