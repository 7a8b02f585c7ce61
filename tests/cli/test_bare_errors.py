"""Exceptions of the frameworks that say nothing get a line that says something."""

import numpy as np
import pytest
from torch.utils.data import DataLoader

from dr2net_mm.cli.run_tool import describe


class Constructor:
    def add_params(self):
        raise NotImplementedError

    def check(self):
        raise AssertionError

    def look_up(self):
        return {}['area']

    def join(self):
        return np.concatenate([])

    def take(self):
        return [][0]

    def load(self):
        return DataLoader([], shuffle=True)

    def ask(self):
        return None.shape


@pytest.mark.parametrize(
    'name, words',
    [
        ('add_params', ['does not provide']),
        ('check', ['condition', 'raise AssertionError']),
        ('look_up', ["key 'area'", 'annotation file']),
        ('join', ['no sample', 'ann_file', 'filter_cfg', 'metainfo']),
        ('take', ['depths', 'out_indices', 'list index out of range']),
        ('load', ['no sample', 'ann_file']),
        ('ask', ['None or missing', 'shape']),
    ],
)
def test_what_says_nothing_is_explained_with_its_place(name, words):
    with pytest.raises(Exception) as caught:
        getattr(Constructor(), name)()
    line = describe(caught.value)
    assert all(word in line for word in words), line
    assert '\n' not in line and '.py:' in line
    if name not in ('join', 'load'):
        assert f'Constructor.{name}' in line


def test_what_speaks_for_itself_is_left_alone():
    assert describe(ValueError('depth must be positive')) == (
        'ValueError: depth must be positive'
    )
