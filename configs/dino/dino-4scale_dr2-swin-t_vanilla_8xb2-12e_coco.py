_base_ = ['./dino-4scale_swin-t_8xb2-12e_coco.py', '../_base_/import_dr2net.py']

# No hook: the coefficients keep these values for the whole run.
model = dict(
    backbone=dict(type='Dr2SwinTransformer', dual_residual=dict(alpha=1.0, beta=0.1))
)
