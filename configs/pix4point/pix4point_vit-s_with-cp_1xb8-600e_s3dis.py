_base_ = './pix4point_vit-s_1xb8-600e_s3dis.py'

# Blocks and embedding are checkpointed.
model = dict(encoder=dict(with_cp=True))
