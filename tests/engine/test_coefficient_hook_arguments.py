"""Arguments of the coefficient hook, without a run."""

import pytest
from mmengine.registry import HOOKS

from dr2net_mm.engine import Dr2CoefficientHook


@pytest.mark.parametrize(
    'arguments, error, words',
    [
        (dict(), ValueError, ['end_epoch is None', 'exactly one']),
        (dict(end_epoch=2, end_iter=9), ValueError, ['2', '9', 'exactly one']),
        (dict(end_epoch=0), ValueError, ['end_epoch is 0', 'at least 1']),
        (dict(end_epoch=1.5), TypeError, ['end_epoch is 1.5', 'whole number']),
        (dict(end_iter=-3), ValueError, ['end_iter is -3', 'at least 1']),
        (dict(end_iter=9, interval=0), ValueError, ['interval is 0']),
        (dict(end_iter=9, start=(0.1, 0.1)), ValueError, ['alpha', 'monotone=False']),
        (dict(end_iter=9, end=(0.3, 2)), ValueError, ['end', '2', '[0, 1]']),
        (dict(end_iter=9, order='gamma_first'), ValueError, ['gamma_first']),
        (dict(end_iter=9, policy='cosine'), ValueError, ['cosine', 'linear']),
    ],
)
def test_wrong_argument_is_named_when_the_hook_is_built(arguments, error, words):
    with pytest.raises(error) as caught:
        HOOKS.build(dict(type='Dr2CoefficientHook', **arguments))
    for word in words:
        assert word in str(caught.value)


def test_hook_is_found_without_a_prefix_from_another_scope():
    with HOOKS.switch_scope_and_registry('mmdet') as hooks:
        hook = hooks.build(dict(type='Dr2CoefficientHook', end_epoch=1))
    assert isinstance(hook, Dr2CoefficientHook)
