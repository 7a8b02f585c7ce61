_base_ = './vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'

# No hook: the coefficients keep these values for the whole run.
model = dict(
    backbone=dict(type='Dr2VisionTransformer', dual_residual=dict(alpha=1.0, beta=0.1))
)
