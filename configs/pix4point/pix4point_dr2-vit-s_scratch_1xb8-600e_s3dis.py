_base_ = './pix4point_dr2-vit-s_hard-finetune_1xb8-600e_s3dis.py'

model = dict(encoder=dict(init_cfg=None))
