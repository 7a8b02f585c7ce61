_base_ = './dino-4scale_dr2-swin-t_8xb2-12e_coco.py'

custom_hooks = [dict(_base_.custom_hooks[0], order='beta_first')]
