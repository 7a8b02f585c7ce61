import json

import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image

from dr2net_mm.errors import DataFileError


@pytest.fixture()
def data_set(tmp_path):
    def make(classes, *labels):
        (tmp_path / 'images').mkdir(exist_ok=True)
        entries = []
        for number, label in enumerate(labels):
            pixels = np.full((4, 6), 40 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'images' / f'{number}.png')
            entries.append(dict(img_path=f'{number}.png', gt_label=label))
        content = dict(metainfo=dict(classes=classes), data_list=entries)
        (tmp_path / 'train.json').write_text(json.dumps(content))
        return DATASETS.build(
            dict(
                type='ClassificationDataset',
                data_root=str(tmp_path),
                ann_file='train.json',
                data_prefix=dict(img_path='images/'),
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='PackClassificationInputs'),
                ],
            )
        )

    return make


def test_an_entry_becomes_an_image_and_its_label(data_set):
    found = data_set(['good', 'bad'], 0, 1)[1]
    assert found['inputs'].shape == (3, 4, 6)
    assert (found['inputs'] == 40).all()
    assert found['data_samples'].gt_label == 1
    assert found['data_samples'].img_path.endswith('1.png')


@pytest.mark.parametrize('label', [2, -1, None, 'bad'])
def test_a_label_that_is_no_class_is_named_with_its_file(data_set, label):
    with pytest.raises(DataFileError, match=r'1\.png has gt_label .* must be 0 to 1'):
        data_set(['good', 'bad'], 0, label)


def test_a_file_without_classes_is_refused(data_set):
    with pytest.raises(DataFileError, match='names no classes'):
        data_set([], 0)


def test_an_image_without_colors_is_packed_with_three_channels():
    pack = TRANSFORMS.build(dict(type='PackClassificationInputs'))
    found = pack(dict(img=np.arange(6, dtype=np.uint8).reshape(2, 3)))
    assert found['inputs'].shape == (3, 2, 3)
    assert 'gt_label' not in found['data_samples']
