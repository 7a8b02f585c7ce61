_base_ = './vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'

# The reversible network that the paper compares with: (alpha, beta) = (0, 1)
# throughout and, as in Re2TAL, the mean of both streams as the output. Floating
# point loses nothing worth repairing here.
model = dict(
    backbone=dict(
        type='Dr2VisionTransformer',
        dual_residual=dict(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean'),
    )
)
