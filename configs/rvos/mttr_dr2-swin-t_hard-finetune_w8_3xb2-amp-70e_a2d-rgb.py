_base_ = './mttr_swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# The reversible network that the paper compares with: (alpha, beta) = (0, 1)
# throughout and, as in Re2TAL, the mean of both streams as a stage's output.
# Floating point loses nothing worth repairing here.
model = dict(
    backbone=dict(
        type='Dr2SwinTransformer3D',
        dual_residual=dict(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean'),
    )
)
