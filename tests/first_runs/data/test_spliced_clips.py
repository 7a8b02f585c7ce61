import json

import numpy as np
import pytest

from dr2net_mm.errors import DataFileError
from dr2net_mm.first_runs.data.spliced_clips import (
    BACKGROUND,
    GAP,
    Film,
    Piece,
    SetOptions,
    back_and_forth,
    class_names,
    plan_video,
    render,
    segments_of,
    subset_range,
)
from dr2net_mm.first_runs.data.spliced_set import missing_files, write_spliced_set
from dr2net_mm.first_runs.data.video_files import check_video, read_film, write_video

OPTIONS = SetOptions(videos=(2, 1), clips=(1, 1))


def film(name, label, level, length=60):
    """Gray frames that grow brighter by two levels each, from ``level`` on."""
    brightness = level + 2 * np.arange(length) % 60
    frames = np.broadcast_to(brightness[:, None, None, None], (length, 86, 108, 3))
    return Film(name, label, frames.astype(np.uint8))


@pytest.fixture(scope='module')
def films():
    return [film('dark', BACKGROUND, 20), film('light', 'light', 190)]


@pytest.fixture(scope='module')
def spliced_set(films, tmp_path_factory):
    out = tmp_path_factory.mktemp('spliced')
    counts = write_spliced_set(films, out, OPTIONS)
    return out, counts


def is_light(frames):
    return frames.reshape(len(frames), -1).mean(1) > 130


def test_training_and_validation_never_show_the_same_frame():
    training = subset_range(100, 'training', 0.4)
    validation = subset_range(100, 'validation', 0.4)
    assert (training[0], training[-1]) == (0, 59)
    assert (validation[0], validation[-1]) == (60 + GAP, 99)


def test_a_film_too_short_to_be_divided_is_an_error():
    with pytest.raises(DataFileError, match='49 frames is too short.*50 are needed'):
        subset_range(49, 'training', 0.4)


def test_a_piece_runs_back_at_the_end_of_its_part():
    shown = back_and_forth(range(10, 14), 2, 8)
    assert shown.tolist() == [12, 13, 12, 11, 10, 11, 12, 13]


def test_annotated_segments_are_where_the_other_film_is_shown(films):
    rng = np.random.default_rng(3)
    for _ in range(5):
        pieces = plan_video(films, 'light', OPTIONS, rng)
        light = is_light(render(pieces, films, 'training', OPTIONS))
        annotated = np.zeros(len(light), bool)
        for first, end, label in segments_of(pieces, films):
            assert label == 'light'
            assert 16 <= end - first <= 72
            annotated[first:end] = True
        assert (light == annotated).all()
        assert not annotated[:10].any() and not annotated[-10:].any()


def test_frames_of_a_subset_come_from_its_part_of_the_film(films):
    whole = [Piece(1, 7, 60, (0.0, 0.0, 1.0), False)]
    levels = {
        subset: set(render(whole, films, subset, OPTIONS)[:, 0, 0, 0].tolist())
        for subset in ('training', 'validation')
    }
    frames = films[1].frames[:, 0, 0, 0]
    assert levels['training'] == set(frames[:36].tolist())
    assert levels['validation'] == set(frames[36 + GAP :].tolist())


def test_files_hold_the_frames_that_the_annotations_promise(spliced_set):
    from decord import VideoReader

    out, counts = spliced_set
    content = json.loads((out / 'annotations.json').read_text())
    database = content['database']
    assert counts['videos'] == len(database) == 3
    assert {entry['subset'] for entry in database.values()} == {
        'training',
        'validation',
    }
    assert [node['nodeName'] for node in content['taxonomy']] == ['Root', 'light']
    for name, entry in database.items():
        frames = VideoReader(str(out / 'videos' / f'{name}.mp4'))[:].asnumpy()
        assert len(frames) / 25 == entry['duration']
        annotated = np.zeros(len(frames), bool)
        for action in entry['annotations']:
            first, end = (round(25 * second) for second in action['segment'])
            annotated[first:end] = True
        assert (is_light(frames) == annotated).all()


def test_trimmed_clips_have_the_number_of_their_class(spliced_set):
    from decord import VideoReader

    out, counts = spliced_set
    assert (out / 'classes.txt').read_text().split() == ['light', BACKGROUND]
    lines = (out / 'clips_training.txt').read_text().splitlines()
    lines += (out / 'clips_validation.txt').read_text().splitlines()
    assert counts['clips'] == len(lines) == 4
    for name, label in map(str.split, lines):
        frames = VideoReader(str(out / 'clips' / name))[:].asnumpy()
        assert len(frames) == OPTIONS.clip_length
        assert (is_light(frames) == (label == '0')).all()


def test_the_same_seed_gives_the_same_annotations_and_another_one_others(
    films, spliced_set, tmp_path
):
    first = (spliced_set[0] / 'annotations.json').read_text()
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        out.mkdir()
        write_spliced_set(films, out, OPTIONS._replace(clips=(0, 0), seed=seed))
        assert ((out / 'annotations.json').read_text() == first) == same


def test_a_lost_or_empty_file_of_a_set_is_found(films, tmp_path):
    write_spliced_set(films, tmp_path, OPTIONS)
    assert missing_files(tmp_path) == []
    (tmp_path / 'videos' / 'training_0001.mp4').unlink()
    lost = next((tmp_path / 'clips').iterdir())
    lost.write_bytes(b'')
    assert missing_files(tmp_path) == [
        'videos/training_0001.mp4',
        f'clips/{lost.name}',
    ]


def test_films_without_a_background_or_a_class_are_an_error(films):
    for given in (films[:1], films[1:]):
        with pytest.raises(DataFileError, match='at least one'):
            class_names(given)


@pytest.fixture()
def written(tmp_path):
    """A file of 40 frames with a cut at 25, and its frames."""
    dark, light = film('dark', '', 20, 25).frames, film('light', '', 190, 15).frames
    frames = np.concatenate([dark, light])[:, :64, :80]
    path = tmp_path / 'cut.mp4'
    write_video(path, frames, 25)
    return path, frames


def test_a_video_that_comes_back_as_it_was_written_passes(written):
    check_video(*written, 25, [25])


@pytest.mark.parametrize(
    ('change', 'fps', 'message'),
    [
        (lambda frames: frames[:-1], 25, '39 frames and read back with 40'),
        (lambda frames: frames, 30, 'written at 30 frames a second and reads as 25'),
        (lambda frames: 255 - frames, 25, 'levels away from what was written'),
        (lambda frames: np.roll(frames, 1, axis=0), 25, 'frame 0 came back'),
    ],
)
def test_a_video_that_comes_back_otherwise_is_an_error(written, change, fps, message):
    path, frames = written
    with pytest.raises(DataFileError, match=message):
        check_video(path, change(frames), fps, [25])


def test_a_film_is_cut_to_the_proportions_and_made_small(tmp_path):
    frames = np.zeros((5, 60, 120, 3), np.uint8)
    frames[:, :, 30:90] = 200
    write_video(tmp_path / 'wide.mp4', frames, 25)
    read = read_film(tmp_path / 'wide.mp4', 30, 30)
    assert read.shape == (5, 30, 30, 3)
    # The square in the middle, without the dark sides.
    assert read[:, 5:-5, 5:-5].min() > 180


def test_a_file_that_is_no_video_is_named(tmp_path):
    path = tmp_path / 'text.mp4'
    path.write_text('nothing to see')
    with pytest.raises(DataFileError, match=r'text\.mp4 cannot be read as a video'):
        read_film(path, 30, 30)
