"""A video stands in an annotation file once, and a class has one name."""

import json

import pytest

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.temporal_detection.datasets.temporal_annotations import (
    load_annotations,
)


def entry(subset='training', label='jump'):
    return dict(
        subset=subset,
        duration=9.0,
        duration_second=9.0,
        annotations=[dict(segment=[1, 2], label=label)],
    )


def write(folder, text):
    path = folder / 'annotations.json'
    path.write_text(text)
    return str(path)


def database(**videos):
    return json.dumps(dict(database=videos))


def test_each_video_of_a_good_file_is_read(tmp_path):
    text = database(a=entry(), b=entry('validation', 'run'), v_c=entry(label=' walk'))
    assert sorted(load_annotations(write(tmp_path, text))) == ['a', 'b', 'v_c']


@pytest.mark.parametrize('flat', [False, True])
def test_an_id_with_and_without_its_prefix_is_one_video(tmp_path, flat):
    videos = dict(a=entry(), b=entry(), v_a=entry('validation'))
    text = json.dumps(videos) if flat else database(**videos)
    with pytest.raises(DataFileError) as error:
        load_annotations(write(tmp_path, text))
    assert "with and without 'v_': 'a' (subsets training and validation)" in str(
        error.value
    )


def test_an_id_once_in_each_subset_is_named(tmp_path):
    one, other = (json.dumps(entry(s)) for s in ('training', 'validation'))
    text = f'{{"database": {{"a": {one}, "b": {one}, "a": {other}}}}}'
    with pytest.raises(DataFileError, match=r"1 videos .* more than once: 'a'"):
        load_annotations(write(tmp_path, text))


def test_a_label_with_spaces_around_another_is_named_with_its_videos(tmp_path):
    text = database(a=entry(), b=entry(label='jump '), c=entry(label=' run'))
    with pytest.raises(DataFileError, match=r"'jump ' have spaces.* videos 'b'\."):
        load_annotations(write(tmp_path, text))


def test_a_subset_with_spaces_is_named(tmp_path):
    text = database(a=entry(), b=entry('training '))
    with pytest.raises(DataFileError, match="'b' is in the subset 'training '"):
        load_annotations(write(tmp_path, text))
