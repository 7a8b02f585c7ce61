_base_ = './dino-4scale_swin-t_8xb2-12e_coco.py'

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

# No hook: the coefficients keep these values for the whole run.
model = dict(
    backbone=dict(type='Dr2SwinTransformer', dual_residual=dict(alpha=1.0, beta=0.1))
)
