_base_ = './dino-4scale_dr2-swin-t_beta-first_8xb2-12e_coco.py'

# The paper's arithmetic: activations are reconstructed in floating point.
model = dict(backbone=dict(dual_residual=dict(arithmetic='float')))
