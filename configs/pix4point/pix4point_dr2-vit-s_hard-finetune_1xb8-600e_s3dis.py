_base_ = './pix4point_vit-s_1xb8-600e_s3dis.py'

# The reversible network that the paper compares with: (alpha, beta) = (0, 1)
# throughout. Floating point loses nothing worth repairing here.
model = dict(
    encoder=dict(
        type='Dr2PointViT',
        dual_residual=dict(alpha=0.0, beta=1.0, arithmetic='float'),
    )
)
