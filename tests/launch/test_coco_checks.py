"""Every COCO-format file of a config is found, with what the config does with it."""

import json
import os
import time

import pytest
from mmengine.config import Config

pytest.importorskip('mmdet')

from dr2net_mm.errors import DataFileError  # noqa: E402
from dr2net_mm.launch import coco_checks  # noqa: E402
from dr2net_mm.launch.coco_checks import check_coco_datasets, coco_files  # noqa: E402

CLASSES = ['cat', 'dog']
LOADING = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def write(path, names=CLASSES, **options):
    content = dict(
        images=[dict(id=1, file_name='1.png', width=9, height=9)],
        annotations=[
            dict(id=n + 1, image_id=1, category_id=n, bbox=[1, 1, 5, 5], area=25,
                 iscrowd=0)
            for n in range(len(names))
        ],
        categories=[dict(id=n, name=name) for n, name in enumerate(names)],
    )  # fmt: skip
    path.write_text(json.dumps({**content, **options}))


def dataset(name, classes=CLASSES, **options):
    return dict(
        type='CocoDataset', ann_file=name, metainfo=dict(classes=classes),
        pipeline=[LOADING[1]], **options,
    )  # fmt: skip


def config(root, train, **options):
    for part in (train, *options.values()):
        if isinstance(part, dict) and 'ann_file' in part and 'metainfo' in part:
            part.setdefault('data_root', str(root))
    loaders = {f'{key}_dataloader': dict(dataset=v) for key, v in options.items()}
    return Config(
        dict(
            default_scope='mmdet', train_dataloader=dict(dataset=train),
            val_evaluator=dict(type='CocoMetric', ann_file=str(root / 'val.json')),
            **loaders,
        )
    )  # fmt: skip


@pytest.fixture
def root(tmp_path):
    write(tmp_path / 'train.json')
    write(tmp_path / 'val.json')
    return tmp_path


def test_data_sets_inside_wrappers_are_found_with_their_use(root):
    inner = dataset(
        'train.json', data_root=str(root), filter_cfg=dict(filter_empty_gt=True)
    )
    train = dict(
        type='RepeatDataset',
        dataset=dict(
            type='MultiImageMixDataset',
            dataset=dict(type='ConcatDataset', datasets=[inner]),
        ),
    )
    cfg = config(root, train, val=dataset('val.json'))
    cfg.model = dict(
        roi_head=dict(bbox_head=[dict(num_classes=2)]),
        rpn_head=dict(num_classes=1),
    )
    first, second = coco_files(cfg, ('train', 'val'))
    assert first.path == str(root / 'train.json')
    assert first.use.trained and first.use.needs_boxes and first.use.drops_empty
    assert first.use.num_classes == (('model.roi_head.bbox_head.num_classes', 2),)
    # The file of the metric is that of the data set: one use of it.
    assert second.path == str(root / 'val.json')
    assert second.use.evaluated and not second.use.trained
    check_coco_datasets(cfg, ('train', 'val'))


def test_only_what_mmdets_own_reader_reads_is_checked(root):
    for kind in ('LVISV1Dataset', 'CocoPanopticDataset', 'Unknown', 'XMLDataset'):
        train = dict(dataset('train.json'), type=kind)
        assert coco_files(config(root, train), ('train',)) == []
    remote = dataset('train.json', backend_args=dict(backend='petrel'))
    assert coco_files(config(root, remote), ('train',)) == []
    cfg = config(root, dataset('train.json'))
    assert len(coco_files(cfg, ('train',))) == 1
    cfg.default_scope = 'mmaction'
    assert coco_files(cfg, ('train',)) == []


def test_the_check_can_be_left_out(root):
    write(root / 'train.json', ['dog', 'cat'])
    cfg = config(root, dataset('train.json'))
    with pytest.raises(DataFileError, match=r'train.json.*\[train_dataloader'):
        check_coco_datasets(cfg, ('train',))
    cfg.check_data = False
    check_coco_datasets(cfg, ('train',))


@pytest.mark.parametrize('where', ['val', 'metric'])
def test_files_whose_labels_mean_other_classes_are_refused(root, where):
    """Each file agrees with its own metainfo; between them cat and dog exchange."""
    order = ['dog', 'cat']
    write(root / 'val.json', order)
    cfg = config(root, dataset('train.json'), val=dataset('val.json', order))
    if where == 'metric':
        write(root / 'own.json')
        cfg.val_dataloader.dataset.ann_file = 'own.json'
        cfg.val_dataloader.dataset.metainfo.classes = CLASSES
    with pytest.raises(DataFileError) as error:
        check_coco_datasets(cfg, ('train', 'val'))
    assert "label 0 is 'dog'" in str(error.value) or 'metainfo=' in str(error.value)
    assert 'val.json' in str(error.value)


def test_val_without_metainfo_is_refused(root):
    val = dataset('val.json')
    cfg = config(root, dataset('train.json'), val=val)
    del cfg.val_dataloader.dataset['metainfo']
    with pytest.raises(DataFileError, match='sets no metainfo for this file'):
        check_coco_datasets(cfg, ('train', 'val'))


def test_every_loader_of_a_list_and_every_metric_is_checked(root):
    """The second of two test sets, over the same file, exchanges cat and dog."""
    cfg = config(root, dataset('train.json'))
    first, second = (
        dict(dataset=dataset('val.json', classes, data_root=str(root)))
        for classes in (CLASSES, CLASSES[::-1])
    )
    cfg.test_dataloader = [first, second]
    cfg.test_evaluator = [cfg.val_evaluator, cfg.val_evaluator]
    with pytest.raises(DataFileError, match="label 0 is 'cat'.*but 'dog' in metainfo"):
        check_coco_datasets(cfg, ('test',))
    cfg.test_dataloader = first
    content = json.loads((root / 'val.json').read_text())
    del content['annotations'][1]['iscrowd']
    (root / 'own.json').write_text(json.dumps(content))
    own = dict(type='CocoMetric', ann_file=str(root / 'own.json'))
    cfg.test_evaluator = dict(type='Evaluator', metrics=[cfg.val_evaluator, own])
    with pytest.raises(DataFileError, match=r'own\.json: annotations\[1\].*no iscrowd'):
        check_coco_datasets(cfg, ('test',))


def test_classes_in_place_of_names_need_no_scope(root):
    from mmdet.datasets import CocoDataset
    from mmengine.dataset import RepeatDataset

    inner = dict(dataset('train.json', CLASSES[::-1]), type=CocoDataset)
    inner.update(data_root=str(root))
    cfg = config(root, dict(type=RepeatDataset, times=2, dataset=inner))
    cfg.default_scope = None
    with pytest.raises(DataFileError, match="label 0 is 'cat'"):
        check_coco_datasets(cfg, ('train',))


def test_notes_are_printed_once_a_file(root, capsys):
    content = json.loads((root / 'val.json').read_text())
    content['annotations'][0]['bbox'] = [5, 5, 0, 0]
    (root / 'val.json').write_text(json.dumps(content))
    cfg = config(root, dataset('train.json'), val=dataset('val.json'))
    check_coco_datasets(cfg, ('train', 'val'))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and '1 of 2 boxes are left out' in lines[0]


def test_a_large_file_is_read_again_only_after_a_change(root, monkeypatch, capsys):
    monkeypatch.setenv('XDG_CACHE_HOME', str(root / 'cache'))
    monkeypatch.setattr(coco_checks, 'CACHED_BYTES', 0)
    read = []
    original = coco_checks.check_coco_file
    monkeypatch.setattr(
        coco_checks,
        'check_coco_file',
        lambda path, use: read.append(path) or original(path, use),
    )
    cfg = config(root, dataset('train.json'))
    (file,) = coco_files(cfg, ('train',))
    reports = [coco_checks.cached_report(file) for _ in range(3)]
    assert len(read) == 1 and reports[0] == reports[2]
    coco_checks.cached_report(file._replace(use=file.use._replace(drops_empty=True)))
    assert len(read) == 2
    later = time.time_ns() + 10**9
    os.utime(root / 'train.json', ns=(later, later))
    coco_checks.cached_report(file)
    assert len(read) == 3
