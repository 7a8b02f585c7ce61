_base_ = './pix4point_vit-s_1xb8-600e_s3dis.py'

# The coefficients stay where the others start.
model = dict(encoder=dict(type='Dr2PointViT', dual_residual=dict(alpha=1.0, beta=0.1)))
