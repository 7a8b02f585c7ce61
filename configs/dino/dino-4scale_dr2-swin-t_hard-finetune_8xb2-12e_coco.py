_base_ = ['./dino-4scale_swin-t_8xb2-12e_coco.py', '../_base_/import_dr2net.py']

# The reversible network that the paper compares with: (alpha, beta) = (0, 1)
# throughout and, as in Re2TAL, the mean of both streams as a stage's output.
# Floating point loses nothing worth repairing here.
model = dict(
    backbone=dict(
        type='Dr2SwinTransformer',
        dual_residual=dict(alpha=0.0, beta=1.0, arithmetic='float', fusion='mean'),
    )
)
