_base_ = './vsgn_swin3d-nano_1xb4-3e_hard-clips.py'

# (alpha, beta) stays near the pretrained network: docs/evidence.md compares this with
# other points and paths.
model = dict(
    backbone=dict(type='Dr2SwinTransformer3D', dual_residual=dict(alpha=0.9, beta=0.1))
)
