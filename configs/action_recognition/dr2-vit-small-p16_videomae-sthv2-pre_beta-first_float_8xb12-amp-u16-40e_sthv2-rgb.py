_base_ = (
    './dr2-vit-small-p16_videomae-sthv2-pre_beta-first_8xb12-amp-u16-40e_sthv2-rgb.py'
)

# The paper's arithmetic: activations are reconstructed in floating point.
model = dict(backbone=dict(dual_residual=dict(arithmetic='float')))
