# The paper's path of (alpha, beta). Its end point and interval (iterations) are chosen:
# see the README.md of each folder. To change one, repeat the hook with it:
#   custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=20)]
custom_hooks = [
    dict(
        type='Dr2CoefficientHook',
        start=(1.0, 0.1),
        end=(0.3, 0.7),
        end_epoch=10,
        interval=2,
    )
]
