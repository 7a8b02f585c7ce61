"""Videos that are trained on and validated on are said."""

import json

import pytest
from mmengine.config import Config

from dr2net_mm.launch.video_splits import report_shared_videos


@pytest.fixture
def config(tmp_path):
    def build(train, val, **options):
        loaders = {}
        for mode, names in (('train', train), ('val', val)):
            entry = dict(duration_second=9.0, annotations=[])
            path = tmp_path / f'{mode}.json'
            path.write_text(json.dumps({name: entry for name in names}))
            dataset = dict(
                type='VideoLocalizationDataset', ann_file=str(path), **options
            )
            wrapped = dict(type='RepeatDataset', times=2, dataset=dataset)
            loaders[f'{mode}_dataloader'] = dict(dataset=wrapped)
        return Config(loaders)

    return build


def test_files_that_share_videos_are_said_to(config, capsys):
    cfg = config(['v_a', 'v_b', 'c'], ['b', 'v_c', 'd'])
    report_shared_videos(cfg)
    assert "2 of 3 videos of validation are trained on too: 'b', 'c';" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    'options', [dict(blocked_videos=['v_b', 'c']), dict(backend_args=dict(backend='x'))]
)
def test_blocked_videos_and_remote_files_are_not_compared(config, capsys, options):
    report_shared_videos(config(['v_a', 'v_b', 'c'], ['b', 'v_c', 'd'], **options))
    assert not capsys.readouterr().out


def test_disjoint_files_and_other_data_sets_say_nothing(config, capsys):
    report_shared_videos(config(['a'], ['b']))
    report_shared_videos(Config(dict(train_dataloader=dict(dataset=dict(type='X')))))
    assert not capsys.readouterr().out
