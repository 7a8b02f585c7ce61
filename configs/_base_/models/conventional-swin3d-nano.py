# A conventional Video Swin for small pictures, and the normalization of its input.
model = dict(
    backbone=dict(
        type='SwinTransformer3D',
        arch=dict(embed_dims=48, depths=(2, 2, 2), num_heads=(3, 6, 12)),
        patch_size=(2, 8, 8),
        window_size=(8, 3, 3),
        drop_path_rate=0.0,
        out_indices=(2,),
    ),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
)
