_base_ = './mttr_swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# Gradient checkpointing, block by block.
model = dict(backbone=dict(with_cp=True))
