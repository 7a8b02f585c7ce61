_base_ = './pix4point_dr2-vit-s_1xb8-600e_s3dis.py'

# The paper's arithmetic: activations are reconstructed in floating point.
model = dict(encoder=dict(dual_residual=dict(arithmetic='float')))
