_base_ = './vsgn_swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

# The reversible network that the paper compares with: (alpha, beta) = (0, 1)
# throughout and, as in Re2TAL, the mean of both streams as a stage's output.
# Floating point loses nothing worth repairing here.
model = dict(
    backbone=dict(
        type='Dr2SwinTransformer3D',
        dual_residual=dict(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean'),
    )
)
