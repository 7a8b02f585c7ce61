_base_ = './vit-small-p16_videomae-sthv2-pre_8xb12-amp-u16-40e_sthv2-rgb.py'

# Embedding and all twelve blocks; the norm behind the mean is new and trains.
model = dict(backbone=dict(type='FrozenVisionTransformer'))
