"""What is said of a config that was changed before a run goes on."""

from mmengine.config import Config

from dr2net_mm.launch.resumed_config import (
    changed_keys,
    describe_changes,
    read_config_text,
)


def config(lr=0.1, milestones=(8, 11), epochs=12, end_epoch=10):
    return Config(
        dict(
            optim_wrapper=dict(
                optimizer=dict(type='SGD', lr=lr), clip_grad=dict(max_norm=1.0)
            ),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=5),
                dict(type='MultiStepLR', milestones=list(milestones)),
            ],
            train_cfg=dict(max_epochs=epochs),
            custom_hooks=[dict(type='Dr2CoefficientHook', end_epoch=end_epoch)],
            work_dir='somewhere',
        )
    )


def test_the_same_config_is_no_change():
    assert describe_changes(changed_keys(config().pretty_text, config())) == ''


def test_keys_are_told_apart_by_their_effect():
    now = config(lr=0.2, milestones=(6, 9), epochs=24, end_epoch=12)
    changes = changed_keys(config().pretty_text, now)
    assert changes.ignored == [
        'optim_wrapper.optimizer.lr (0.1 before, 0.2 now)',
        'param_scheduler[1].milestones ([8, 11] before, [6, 9] now)',
    ]
    assert changes.effective == [
        'train_cfg.max_epochs (12 before, 24 now)',
        'custom_hooks[0].end_epoch (10 before, 12 now)',
    ]
    line = describe_changes(changes)
    assert 'load_from' in line and line.count('\n') == 0


def test_nothing_of_a_checkpoint_is_executed(tmp_path):
    there = tmp_path / 'made'
    text = f'a = open({str(there)!r}, "w")\nb = dict(c=[1, (2.0, -3)], d=None)\n'
    assert read_config_text(text) == {'b': {'c': [1, [2.0, -3]], 'd': None}}
    assert not there.exists()
    assert read_config_text('not python') == {}
