"""Voxels, potentials and spheres."""

import pickle

import numpy as np
import pytest

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.point_segmentation.datasets import SphereDataset, SphereSampler
from dr2net_mm.tasks.point_segmentation.datasets.cloud import Cloud, voxel_sample
from dr2net_mm.tasks.point_segmentation.datasets.spheres import (
    SpherePotentials,
    sphere_points,
)
from tests.tasks.point_segmentation.datasets.toolbox import (
    random_cloud,
    random_clouds,
    sampled,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def same(one, other):
    assert one.keys() == other.keys()
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_every_voxel_with_points_gives_one_of_them():
    positions = random_cloud().positions
    kept = voxel_sample(positions, 0.2, rng())
    voxels = np.floor(positions.astype(np.float64) / 0.2).astype(int)
    chosen = {tuple(voxel) for voxel in voxels[kept]}
    assert len(chosen) == len(kept)
    assert chosen == {tuple(voxel) for voxel in voxels}
    assert (np.diff(kept) > 0).all()


def test_which_point_of_a_voxel_is_kept_is_random():
    positions = np.full((4, 3), 0.01)
    kept = [int(voxel_sample(positions, 0.1, rng(seed))[0]) for seed in range(400)]
    counts = np.bincount(kept, minlength=4)
    # 100 each; five standard deviations are 43.
    assert abs(counts - 100).max() < 43


def test_voxels_that_cannot_be_numbered_are_refused():
    with pytest.raises(ValueError, match='too small'):
        voxel_sample(np.array([[1e7, 1e7, 1e7]]), 1e-3, rng())


def test_the_next_center_is_where_the_potential_is_lowest():
    """Against the definition, without a tree and for one cloud after another."""
    clouds = [sampled(random_cloud(seed=seed)) for seed in (0, 1)]
    potentials = SpherePotentials(clouds, 0.8)
    found = potentials.draw(15, rng(5))
    draws = rng(5)
    places = potentials.places
    values = [draws.random(len(p)) * 1e-3 for p in places]
    for center in found:
        cloud = int(np.argmin([value.min() for value in values]))
        noise = draws.normal(0, 0.8 * 0.1, 3)
        wanted = places[cloud][values[cloud].argmin()] + noise
        assert center.cloud == cloud
        np.testing.assert_array_equal(center.position, wanted)
        ratio = ((places[cloud] - wanted) ** 2).sum(1) / 0.8**2
        values[cloud] += np.where(ratio <= 1, (1 - ratio) ** 2, 0)


def test_spheres_cover_both_clouds_evenly():
    clouds = [sampled(random_cloud(seed=seed)) for seed in (0, 1)]
    found = SpherePotentials(clouds, 0.8).draw(120, rng())
    for number, cloud in enumerate(clouds):
        centers = [c.position for c in found if c.cloud == number]
        assert 40 < len(centers) < 80
        gaps = np.linalg.norm(cloud.positions[:, None] - np.array(centers), axis=2)
        assert (gaps.min(axis=1) < 0.8).mean() > 0.99


def test_a_full_sphere_takes_the_nearest_points():
    cloud, center = sampled(random_cloud()), np.array([1.5, 1.5, 1.5])
    found = sphere_points(cloud, center, 1.0, 50, rng())
    order = ((cloud.positions - center) ** 2).sum(1).argsort()
    assert set(found['indices']) == set(order[:50]) and found['valid'].all()


def test_a_sphere_of_few_points_repeats_them():
    cloud, center = sampled(random_cloud()), np.array([1.5, 1.5, 1.5])
    found = sphere_points(cloud, center, 0.4, 500, rng())
    inside = np.flatnonzero(((cloud.positions - center) ** 2).sum(1) <= 0.4**2)
    assert set(found['indices']) == set(inside)
    assert sorted(found['indices'][found['valid']]) == inside.tolist()
    assert len(found['indices']) == 500


def test_a_single_point_fills_its_sphere_and_an_empty_sphere_is_named():
    lone = Cloud('lone', np.zeros((1, 3), 'f'), np.zeros((1, 3), 'B'), np.zeros(1, 'B'))
    cloud = sampled(lone)
    found = sphere_points(cloud, np.zeros(3), 1.0, 4, rng())
    assert found['indices'].tolist() == [0] * 4 and found['valid'].sum() == 1
    with pytest.raises(ValueError, match=r'no point of lone lies within 1.0 m of \[9'):
        sphere_points(cloud, np.full(3, 9.0), 1.0, 4, rng())


def test_a_sample_holds_what_its_points_are():
    data = random_clouds()
    sample, cloud = data.sphere(3), data.clouds[data.sphere(3)['cloud']]
    index = sample['indices']
    np.testing.assert_allclose(
        sample['points'] + sample['center'], cloud.positions[index], atol=1e-6
    )
    np.testing.assert_array_equal(sample['colors'], cloud.colors[index])
    np.testing.assert_array_equal(sample['heights'][:, 0], cloud.positions[index, 2])
    np.testing.assert_array_equal(sample['labels'], cloud.labels[index])
    shapes = {key: np.shape(value) for key, value in sample.items()}
    assert shapes['points'] == shapes['colors'] == (128, 3)
    assert shapes['heights'] == (128, 1)


def test_spheres_follow_from_seed_and_index_alone():
    data, again = random_clouds(), pickle.loads(pickle.dumps(random_clouds()))
    last = again.sphere(29)
    for index in (29, 3, 13):
        assert same(data.sphere(index), random_clouds().sphere(index))
    assert same(data.sphere(29), last)
    assert not same(data.sphere(3), random_clouds(seed=1).sphere(3))


def test_the_sampler_gives_each_epoch_spheres_of_its_own():
    data = random_clouds()
    sampler = SphereSampler(data, shuffle=True, seed=0)
    first = list(sampler)
    sampler.set_epoch(2)
    third = list(sampler)
    assert sorted(first) == list(range(12)) and sorted(third) == list(range(24, 36))
    # As in a run that is resumed there.
    resumed = SphereSampler(random_clouds(), shuffle=True, seed=0)
    resumed.set_epoch(2)
    assert list(resumed) == third
    centers = [data.sphere(index)['center'].tolist() for index in (0, 12, 24)]
    assert len({tuple(center) for center in centers}) == 3


@pytest.mark.parametrize(
    'change', ['voxel_size', 'radius', 'num_points', 'spheres_per_epoch']
)
def test_numbers_out_of_range_are_named(change):
    with pytest.raises(ValueError, match=f'{change} is 0'):
        random_clouds(**{change: 0})


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_coordinates_that_are_not_finite_are_named(value):
    class Broken(SphereDataset):
        def load_clouds(self):
            cloud = random_cloud()
            cloud.positions[7, 1] = value
            return [cloud]

    with pytest.raises(DataFileError, match=r'cloud 0: point 7 has .*the 1 points'):
        Broken().full_init()


def test_a_cloud_without_points_is_named():
    class Empty(SphereDataset):
        def load_clouds(self):
            return [random_cloud(points=1)._replace(positions=np.zeros((0, 3)))]

    with pytest.raises(DataFileError, match='holds no points'):
        Empty().full_init()
