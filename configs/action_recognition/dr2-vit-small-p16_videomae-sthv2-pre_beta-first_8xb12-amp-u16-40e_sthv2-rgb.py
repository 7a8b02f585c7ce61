_base_ = './dr2-vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'

custom_hooks = [dict(_base_.custom_hooks[0], order='beta_first')]
