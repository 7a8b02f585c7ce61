# A Video Swin that two CPU cores train, and the normalization of its input.
model = dict(
    backbone=dict(
        type='Dr2SwinTransformer3D',
        arch=dict(embed_dims=48, depths=(2, 2, 2), num_heads=(3, 6, 12)),
        patch_size=(2, 8, 8),
        window_size=(8, 4, 4),
        drop_path_rate=0.0,
        out_indices=(2,),
        dual_residual=dict(arithmetic='exact'),
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)
