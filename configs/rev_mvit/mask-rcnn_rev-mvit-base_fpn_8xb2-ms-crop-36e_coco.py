_base_ = [
    'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py',
    '../_base_/import_dr2net.py',
]

# tools/model_converters/slowfast_rev_to_mm.py makes the file, see README.md.
model = dict(
    backbone=dict(
        _delete_=True,
        type='RevMViT',
        arch='image-base',
        drop_path_rate=0.2,
        out_scales=(0, 1, 2, 3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='checkpoints/rev-mvit-b-16_in1k.pth',
            prefix='backbone.',
        ),
    ),
    # Both streams of a scale are joined, which doubles its width.
    neck=dict(in_channels=[192, 384, 768, 1536]),
)

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'pos_embed': dict(decay_mult=0.0)})
)
