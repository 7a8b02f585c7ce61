"""Rooms in S3DIS's text format."""

import numpy as np
import pytest

from dr2net_mm.first_runs.data.rooms import (
    PALETTES,
    Patch,
    box,
    draw_room,
    write_areas,
)
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_areas import (
    load_area,
    prepare_area,
)
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_text import CLASSES


def test_points_of_a_patch_lie_on_it_evenly():
    patch = Patch((1, 2, 3), (2, 0, 0), (0, 1, 1))
    assert patch.area == pytest.approx(8**0.5)
    points = patch.sample(1000, np.random.default_rng(0))
    # Five standard deviations of the count.
    assert abs(len(points) - 1000 * patch.area) < 5 * (1000 * patch.area) ** 0.5
    s, t = (points[:, 0] - 1) / 2, points[:, 1] - 2
    np.testing.assert_allclose(points[:, 2] - 3, t, atol=1e-12)
    for share in (s, t):
        assert 0 <= share.min() and share.max() <= 1
        assert abs(share.mean() - 0.5) < 0.03


def test_a_box_has_six_faces_around_it():
    faces = box((1, 1, 0), (1, 2, 3))
    assert sum(face.area for face in faces) == pytest.approx(2 * (2 + 3 + 6))
    corners = np.concatenate(
        [
            np.asarray(face.origin) + s * np.asarray(face.a) + t * np.asarray(face.b)
            for face in faces
            for s in (0, 1)
            for t in (0, 1)
        ]
    ).reshape(-1, 3)
    assert corners.min(0).tolist() == [1, 1, 0] and corners.max(0).tolist() == [2, 3, 3]


def test_every_class_of_the_data_set_can_occur():
    rooms = [draw_room(np.random.default_rng(seed)) for seed in range(20)]
    names = {name for room in rooms for name, _ in room.items}
    assert names == set(CLASSES) == set(PALETTES)


def test_written_rooms_are_read_as_the_data_set_is(tmp_path):
    rooms = []
    count = write_areas(tmp_path / 'a', [1, 5], 2, 20.0, 0, lambda: rooms.append(1))
    assert len(rooms) == 4
    made = [prepare_area(tmp_path / 'a', area, tmp_path) for area in (1, 5)]
    assert [area.rooms for area in made] == [2, 2]
    assert sum(area.points for area in made) == count
    cloud = load_area(tmp_path, 5)
    assert {CLASSES[i] for i in cloud.labels} >= {'floor', 'wall', 'table', 'chair'}
    floor = cloud.positions[cloud.labels == CLASSES.index('floor')]
    assert floor[:, 2].max() < 0.2
    # Rooms stand apart.
    assert 9 < cloud.positions[:, 0].max() < 25


def test_an_area_depends_on_its_number_and_the_seed_alone(tmp_path):
    def content(name, **changes):
        options = {**dict(areas=[5], rooms=1, density=10.0, seed=0), **changes}
        write_areas(tmp_path / name, **options)
        folder = tmp_path / name / 'Area_5' / 'office_1' / 'Annotations'
        return {path.name: path.read_text() for path in folder.iterdir()}

    first = content('a')
    assert content('b', areas=[1, 5], rooms=2) == first
    assert content('c', seed=1) != first
