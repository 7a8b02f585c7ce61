_base_ = [
    'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
]

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConventionalTimmBackbone',
        model_name='convnext_tiny.fb_in1k',
        drop_path_rate=0.4,
        init_cfg=dict(type='Pretrained', checkpoint='convnext_tiny_1k_224_ema.pth'),
    )
)

# timm counts more layers than mmdet's constructor: the rate is chosen, see README.md.
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.98),
)
