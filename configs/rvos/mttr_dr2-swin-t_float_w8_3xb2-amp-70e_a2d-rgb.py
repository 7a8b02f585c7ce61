_base_ = './mttr_dr2-swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# The paper's arithmetic: activations are reconstructed in floating point.
model = dict(backbone=dict(dual_residual=dict(arithmetic='float')))
