_base_ = './vsgn_dr2-swin-t_8xb1-amp-f768-15e_activitynet-rgb.py'

custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], policy='logarithmic'),
]
