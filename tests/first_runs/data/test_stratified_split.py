import json
from collections import Counter
from pathlib import Path

import pytest

from dr2net_mm.errors import DataFileError
from dr2net_mm.first_runs.data.stratified_split import complete_split, stratified_split

STORED = Path(__file__).parents[3] / 'tools' / 'data' / 'elpv_split.json'


def test_every_kind_gives_the_same_share_to_a_part():
    kinds = {f'{i:03d}': ('a' if i < 60 else 'b') for i in range(100)}
    parts = stratified_split(kinds, dict(val=0.1, test=0.5), seed=0)
    assert Counter(kinds[name] for name in parts['val']) == dict(a=6, b=4)
    assert Counter(kinds[name] for name in parts['test']) == dict(a=30, b=20)
    assert not set(parts['val']) & set(parts['test'])
    assert parts == stratified_split(kinds, dict(val=0.1, test=0.5), seed=0)
    assert parts != stratified_split(kinds, dict(val=0.1, test=0.5), seed=1)


def test_shares_above_one_are_refused():
    with pytest.raises(ValueError, match='more than 1'):
        stratified_split({'x': 0}, dict(val=0.6, test=0.6), seed=0)


def test_what_no_part_has_is_left_for_training():
    found = complete_split(['a', 'b', 'c', 'd'], dict(val=['c'], test=['a']))
    assert found == dict(train=['b', 'd'], val=['c'], test=['a'])


@pytest.mark.parametrize(
    'stored, message',
    [
        (dict(val=['x']), 'x in val, which the data set has not'),
        (dict(val=['a'], test=['a']), 'both in val and in test'),
    ],
)
def test_a_split_that_does_not_fit_the_data_is_named(stored, message):
    with pytest.raises(DataFileError, match=message):
        complete_split(['a', 'b'], stored)


def test_the_stored_split_of_the_solar_cells_is_a_tenth_and_a_half():
    stored = json.loads(STORED.read_text())
    names = [f'cell{number:04d}.png' for number in range(1, 2625)]
    parts = complete_split(names, stored)
    assert {part: len(found) for part, found in parts.items()} == dict(
        train=1049, val=263, test=1312
    )
