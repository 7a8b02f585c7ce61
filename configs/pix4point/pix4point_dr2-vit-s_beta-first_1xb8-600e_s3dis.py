_base_ = './pix4point_dr2-vit-s_1xb8-600e_s3dis.py'

# end_epoch and interval (iterations) are chosen: see README.md.
custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.4, 0.7),
        end_epoch=300,
        interval=10,
        order='beta_first',
    )
]
