_base_ = './pix4point_dr2-vit-s_1xb8-600e_s3dis.py'

custom_hooks = [dict(_base_.custom_hooks[0], order='beta_first')]
