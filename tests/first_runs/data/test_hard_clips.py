import json

import numpy as np
import pytest

from dr2net_mm.first_runs.data.hard_clips import (
    MOVES,
    SUBSETS,
    HardOptions,
    Scenery,
    class_names,
    class_parts,
    cuts_of,
    move_path,
    plan_shot,
    plan_video,
    render,
    segments_of,
)
from dr2net_mm.first_runs.data.hard_clips_set import write_hard_set
from dr2net_mm.first_runs.data.spliced_clips import BACKGROUND, GAP
from dr2net_mm.first_runs.data.spliced_set import missing_files

OPTIONS = HardOptions(videos=(2, 1, 1), clips=(1, 1, 1))


@pytest.fixture(scope='module')
def sceneries():
    """A photo of a gray for each subset, and films of two classes."""
    made = []
    for gray, subset in zip((10, 20, 30), SUBSETS):
        photo = np.full((1, 96, 128, 3), gray, np.uint8)
        made.append(Scenery(subset, BACKGROUND, photo, {subset: range(1)}))
    for gray, label in ((100, 'box'), (200, 'cup')):
        film = np.full((60, 96, 128, 3), gray, np.uint8)
        film += np.arange(60, dtype=np.uint8)[:, None, None, None] // 2
        made.append(Scenery(label, label, film, class_parts(60)))
    return made


def videos(sceneries, subset, count=30):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield plan_video(sceneries, subset, OPTIONS, rng)


@pytest.mark.parametrize('move', MOVES)
def test_a_move_changes_the_view_in_each_frame_and_stays_within_the_scenery(move):
    for seed in range(30):
        path = move_path(move, 20, np.random.default_rng(seed))
        assert len(path) == 21
        assert all(one != other for one, other in zip(path, path[1:]))
        if move == 'shake':
            continue
        for view in path:
            assert 0 <= view.x - view.width / 2 and view.x + view.width / 2 <= 1
            assert 0 <= view.y - view.width / 2 and view.y + view.width / 2 <= 1
    if move.startswith('zoom'):
        assert (path[0].width > path[-1].width) == (move == 'zoom_in')


def test_the_frames_of_a_segment_are_those_of_its_class_and_no_others(sceneries):
    for shots in videos(sceneries, 'validation'):
        gains = np.concatenate([shot.gains for shot in shots])
        brightness = render(shots, sceneries, OPTIONS).mean(axis=(1, 2, 3)) / gains
        labels = np.full(len(brightness), BACKGROUND)
        for first, end, label in segments_of(shots, sceneries):
            labels[first:end] = label
        seen = np.select(
            [brightness < 60, brightness < 150], [BACKGROUND, 'box'], 'cup'
        )
        # Beyond a factor of 255 / 230 a bright picture is cut off.
        judged = (gains <= 1) | (labels == BACKGROUND)
        assert np.array_equal(seen[judged], labels[judged])


def test_a_subset_shows_its_own_backgrounds_and_its_own_frames_of_a_class(sceneries):
    shown = {subset: set() for subset in SUBSETS}
    for subset in SUBSETS:
        for shots in videos(sceneries, subset):
            segments = segments_of(shots, sceneries)
            assert 1 <= len(segments) <= 3
            # Before, between and after the segments there is background.
            assert segments[0][0] > 0
            assert segments[-1][1] < sum(len(shot.views) for shot in shots)
            for shot in shots:
                shown[subset].update((shot.scenery, n) for n in shot.numbers)
    assert {scenery for scenery, _ in shown['testing']} == {2, 3, 4}
    everything = [one for frames in shown.values() for one in frames]
    assert len(everything) == len(set(everything))


def test_the_parts_of_a_film_are_apart_and_within_it():
    first, second, third = class_parts(100).values()
    assert (first, second, third) == (range(50), range(50 + GAP, 70), range(75, 100))


def test_distractions_change_speed_light_and_view_within_a_shot(sceneries):
    rng = np.random.default_rng(0)
    shots = [plan_shot(sceneries, 'training', 'box', 40, rng) for _ in range(200)]
    steps = [np.abs(np.diff(shot.numbers)) for shot in shots]
    assert any((step == 0).sum() > 5 for step in steps)
    assert any(shot.gains.min() < 0.6 for shot in shots)
    assert any(len(set(shot.views)) == 2 for shot in shots)
    assert any(len(set(shot.views)) == 40 for shot in shots)


def test_a_written_set_has_three_subsets_in_seconds_of_exact_frames(
    sceneries, tmp_path
):
    counts = write_hard_set(sceneries, tmp_path, OPTIONS)
    database = json.loads((tmp_path / 'annotations.json').read_text())['database']
    labels = class_names(sceneries)
    assert counts['videos'] == len(database) == 4
    assert counts['clips'] == 3 * len(labels)
    assert {entry['subset'] for entry in database.values()} == set(SUBSETS)
    rng = np.random.default_rng([0, 0, 0, 1])
    shots = plan_video(sceneries, 'training', OPTIONS, rng)
    written = database['training_0001']['annotations']
    assert [
        (round(one['segment'][0] * 25), round(one['segment'][1] * 25), one['label'])
        for one in written
    ] == segments_of(shots, sceneries)
    borders = {
        frame
        for first, end, _ in segments_of(shots, sceneries)
        for frame in (first, end)
    }
    assert borders <= set(cuts_of(shots))
    assert (tmp_path / 'classes.txt').read_text().split() == labels
    assert missing_files(tmp_path, SUBSETS) == []
    (tmp_path / 'videos' / 'testing_0000.mp4').unlink()
    assert missing_files(tmp_path, SUBSETS) == ['videos/testing_0000.mp4']
