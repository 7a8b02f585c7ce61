"""What is kept and dropped of a checkpoint that is published."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from dr2net_mm.checkpoints.coefficients import coefficients_of
from dr2net_mm.checkpoints.publish import publish_file, published
from dr2net_mm.errors import UserError
from dr2net_mm.version import __version__


def weights_at(value, alpha, beta):
    state = OrderedDict()
    state['backbone.weight'] = torch.full((2, 3), value)
    state['backbone.dual_residual.alpha'] = torch.tensor(alpha, dtype=torch.float64)
    state['backbone.dual_residual.beta'] = torch.tensor(beta, dtype=torch.float64)
    state._metadata = OrderedDict({'': dict(version=1), 'bbox_head': dict(version=2)})
    return state


@pytest.fixture
def of_run():
    """A checkpoint as a run with an EMAHook saves it: state_dict is the average."""
    last = {'module.' + key: value for key, value in weights_at(2.0, 0.3, 0.7).items()}
    return dict(
        meta=dict(
            cfg='model = dict()',
            epoch=3,
            iter=12,
            seed=np.int64(4),
            dataset_meta=dict(classes=('tree',)),
            hook_msgs=dict(last_ckpt='/somewhere/epoch_3.pth'),
        ),
        state_dict=weights_at(1.0, 0.4, 0.6),
        ema_state_dict=dict(steps=torch.tensor(12), **last),
        optimizer=dict(state={0: dict(exp_avg=torch.ones(6))}),
        message_hub=dict(loss=HistoryBuffer([1.0], [1])),
        param_schedulers=[],
    )


def test_weights_and_meta_are_kept_and_the_rest_is_named(of_run):
    content, notes = published(of_run)
    assert set(content) == {'meta', 'state_dict'}
    meta = content['meta']
    assert meta['cfg'] == 'model = dict()' and meta['iter'] == 12
    assert meta['dataset_meta'] == dict(classes=('tree',))
    assert meta['dr2net_mm_version'] == __version__
    assert 'hook_msgs' not in meta and type(meta['seed']) is int
    dropped = [note for note in notes if note.startswith('dropped')]
    assert dropped == ['dropped: ema_state_dict, message_hub, optimizer, '
                       'param_schedulers']  # fmt: skip


@pytest.mark.parametrize(
    ('choice', 'value', 'pair'),
    [('averaged', 1.0, (0.4, 0.6)), ('last', 2.0, (0.3, 0.7))],
)
def test_coefficients_are_those_of_the_weights_that_are_chosen(
    of_run, choice, value, pair
):
    content, notes = published(of_run, choice)
    state = content['state_dict']
    assert float(state['backbone.weight'][0, 0]) == value
    assert coefficients_of(state) == {'backbone': pair}
    assert any(f'alpha = {pair[0]}, beta = {pair[1]}' in note for note in notes)
    assert state._metadata['bbox_head'] == dict(version=2)
    assert list(state) == list(of_run['state_dict'])


def test_without_an_average_the_weights_are_those_of_the_last_iteration(of_run):
    del of_run['ema_state_dict']
    for choice in ('averaged', 'last'):
        content, notes = published(of_run, choice)
        assert content['state_dict'].keys() == of_run['state_dict'].keys()
        assert 'there is no average' in notes[0]


def test_an_average_without_the_other_weights_cannot_give_them(of_run):
    del of_run['ema_state_dict']['module.backbone.weight']
    with pytest.raises(UserError, match='module.backbone.weight'):
        published(of_run, 'last')


def test_a_part_of_a_larger_storage_leaves_the_rest_behind(of_run):
    of_run['state_dict']['backbone.weight'] = torch.zeros(1000, 3)[:2]
    weight = published(of_run)[0]['state_dict']['backbone.weight']
    assert weight.untyped_storage().nbytes() == 24


def test_shared_weights_stay_shared(of_run):
    shared = torch.ones(2)
    of_run['state_dict'].update(a=shared, b=shared)
    state = published(of_run)[0]['state_dict']
    assert state['a'].data_ptr() == state['b'].data_ptr()


def test_the_name_tells_the_content(tmp_path, of_run):
    source = tmp_path / 'epoch_3.pth'
    torch.save(of_run, str(source))
    first, _ = publish_file(str(source), str(tmp_path / 'a.pth'))
    again, _ = publish_file(str(source), str(tmp_path / 'b.pth'))
    other, _ = publish_file(str(source), str(tmp_path / 'c'), 'last')
    assert first[-12:] == again[-12:] != other[-12:]
    # Half a pair is no state to publish.
    del of_run['state_dict']['backbone.dual_residual.beta']
    with pytest.raises(UserError, match='no beta of backbone'):
        published(of_run)
