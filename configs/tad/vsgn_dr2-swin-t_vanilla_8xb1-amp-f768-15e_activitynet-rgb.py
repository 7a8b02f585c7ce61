_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# No coefficient hook: they keep these values for the whole run.
model = dict(
    backbone=dict(type='Dr2SwinTransformer3D', dual_residual=dict(alpha=1.0, beta=0.1))
)
