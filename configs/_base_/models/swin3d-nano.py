# A Video Swin that two CPU cores train, and the normalization of its input.
_base_ = './conventional-swin3d-nano.py'

model = dict(
    backbone=dict(
        type='Dr2SwinTransformer3D',
        window_size=(8, 4, 4),
        dual_residual=dict(arithmetic='exact'),
    ),
)
