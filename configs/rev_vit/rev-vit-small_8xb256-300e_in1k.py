_base_ = 'mmpretrain::revvit/revvit-small_8xb256_in1k.py'

custom_imports = dict(imports=['dr2net_mm'], allow_failed_imports=False)

# mmpretrain has a class of this name; ours is in MMEngine's root registry.
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmengine.RevVisionTransformer',
        arch='deit-small',
        drop_path_rate=0.1,
    )
)

# The learning rate of the base is that of 2,048 images, its entry 1,024.
auto_scale_lr = dict(base_batch_size=2048)
