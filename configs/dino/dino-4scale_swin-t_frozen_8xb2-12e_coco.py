_base_ = './dino-4scale_swin-t_8xb2-12e_coco.py'

# Patch embedding, all four stages and the norm layers of the outputs.
model = dict(backbone=dict(frozen_stages=4))

# SwinTransformer freezes itself only once training starts, when
# DistributedDataParallel already waits for the gradients of the backbone.
find_unused_parameters = True
