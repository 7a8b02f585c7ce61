_base_ = './mttr_swin-t_w8_3xb2-amp-70e_a2d-rgb.py'

# MTTR's larger setting: ten frames, three windows on each of two GPUs.
window_size = 10
train_dataloader = dict(batch_size=3, dataset=dict(window_size=window_size))
val_dataloader = dict(batch_size=3, dataset=dict(window_size=window_size))
test_dataloader = val_dataloader
