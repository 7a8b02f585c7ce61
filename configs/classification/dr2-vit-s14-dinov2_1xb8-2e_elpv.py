_base_ = './vit-s14-dinov2_1xb8-2e_elpv.py'

# (alpha, beta) stays near the pretrained network: docs/evidence.md compares this with
# other points and paths.
model = dict(
    backbone=dict(type='Dr2TimmBackbone', dual_residual=dict(alpha=0.9, beta=0.1))
)
