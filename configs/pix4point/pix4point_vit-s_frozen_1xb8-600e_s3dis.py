_base_ = './pix4point_vit-s_1xb8-600e_s3dis.py'

# Chosen: the blocks and their norm keep their weights; embedding, positions, CLS,
# decoder and head train.
model = dict(encoder=dict(frozen_blocks=True))
