"""Point operators against sorting by hand, on clouds with ties and repeated points."""

import importlib
import math

import numpy as np
import pytest
import torch

from dr2net_mm.tasks.point_segmentation.models.operators import (
    farthest_points,
    gather_points,
    interpolate,
    interpolation_weights,
    nearest_points,
)
from tests.tasks.point_segmentation.models import reference


def grid() -> torch.Tensor:
    """Points of a lattice, with many equal distances, the last ones repeated."""
    axis = torch.arange(4.0)
    points = torch.cartesian_prod(axis, axis, axis[:2])
    return torch.cat([points, points[:7]]).unsqueeze(0)


def scattered(batch: int = 2, points: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, points, 3, generator=generator)


CLOUDS = pytest.mark.parametrize('cloud', [grid(), scattered()], ids=['ties', 'random'])


@CLOUDS
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_farthest_points_are_those_of_the_definition(cloud, dtype):
    found = farthest_points(cloud.to(dtype), 12)
    wanted = [reference.farthest(p.numpy().astype(np.float64), 12) for p in cloud]
    assert found.tolist() == wanted
    assert found.dtype == torch.int64


def test_farthest_points_of_equal_points_repeat_the_first():
    assert farthest_points(torch.ones(1, 5, 3), 3).tolist() == [[0, 0, 0]]
    assert farthest_points(torch.zeros(1, 1, 3), 1).tolist() == [[0]]


@CLOUDS
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_nearest_points_come_in_order_of_distance_then_of_the_cloud(cloud, dtype):
    queries = torch.cat([cloud[:, 3:9], cloud[:, 5:8] + 0.25], dim=1)
    found, squares = nearest_points(queries.to(dtype), cloud.to(dtype), 10)
    for query, p, indices, square in zip(queries, cloud, found, squares):
        p, query = p.double().numpy(), query.double().numpy()
        assert indices.tolist() == [reference.nearest(q, p, 10) for q in query]
        gaps = ((p[indices.numpy()] - query[:, None]) ** 2).sum(2)
        np.testing.assert_allclose(square.numpy(), gaps, rtol=1e-5, atol=1e-12)


def test_a_cloud_in_pieces_has_the_same_neighbors(monkeypatch):
    module = importlib.import_module(nearest_points.__module__)
    cloud = scattered(points=50)
    wanted = nearest_points(cloud, cloud, 8)
    # Three queries at a time, the last piece two.
    monkeypatch.setattr(module, 'CHUNK', 3 * 2 * 50)
    found = nearest_points(cloud, cloud, 8)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


def test_near_points_far_from_the_origin_are_told_apart():
    """Where the matrix product of torch.cdist finds a distance of zero."""
    cloud = torch.tensor([[[1000.0, 0, 0], [1000.001, 0, 0], [1000.003, 0, 0]]])
    indices, squares = nearest_points(cloud[:, 2:], cloud, 3)
    assert indices.tolist() == [[[2, 1, 0]]]
    assert (squares[0, 0, 1:] > 0).all()


@CLOUDS
def test_interpolation_is_that_of_the_three_nearest(cloud):
    cloud = cloud.double()
    coarse = cloud[:, ::3]
    values = torch.randn(len(cloud), coarse.shape[1], 4, dtype=torch.float64)
    found = interpolate(values, *interpolation_weights(cloud, coarse))
    for out, value, fine, few in zip(found, values, cloud, coarse):
        wanted = reference.spread(value.numpy().T, fine.numpy(), few.numpy())
        np.testing.assert_allclose(out.numpy(), wanted.T, rtol=1e-9)


def test_interpolation_at_a_point_of_the_cloud_is_its_value():
    cloud, values = scattered(1, 20), torch.arange(20.0).view(1, 20, 1)
    found = interpolate(values, *interpolation_weights(cloud, cloud))
    torch.testing.assert_close(found, values, atol=1e-4, rtol=0)
    # Two points at one place share it.
    twice = torch.cat([cloud, cloud[:, :1]], dim=1)
    twin = torch.cat([values, torch.full((1, 1, 1), 100.0)], dim=1)
    found = interpolate(twin, *interpolation_weights(cloud[:, :1], twice))
    assert math.isclose(float(found), 50.0, abs_tol=1e-3)


def test_interpolation_of_fewer_than_three_points_takes_those():
    cloud = torch.tensor([[[0.0, 0, 0], [3.0, 0, 0]]])
    indices, weights = interpolation_weights(cloud[:, :1] + 1, cloud[:, :1])
    assert indices.tolist() == [[[0]]] and weights.tolist() == [[[1.0]]]
    query = torch.tensor([[[1.0, 0, 0]]])
    values = torch.tensor([[[0.0], [3.0]]])
    found = interpolate(values, *interpolation_weights(query, cloud))
    torch.testing.assert_close(found, torch.tensor([[[1.0]]]))


def test_weights_stay_in_single_precision_under_autocast():
    cloud = scattered()
    with torch.autocast('cpu', torch.bfloat16):
        _, weights = interpolation_weights(cloud, cloud[:, :9])
    _, wanted = interpolation_weights(cloud, cloud[:, :9])
    assert weights.dtype == torch.float32 and torch.equal(weights, wanted)


def test_the_gradient_of_interpolation_and_gathering_is_the_numerical_one():
    cloud = scattered(2, 9).double()
    values = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    geometry = interpolation_weights(cloud, cloud[:, :4])
    assert torch.autograd.gradcheck(lambda v: interpolate(v, *geometry), [values])
    index = torch.tensor([[[0, 0], [3, 1]], [[2, 2], [2, 0]]])
    assert torch.autograd.gradcheck(lambda v: gather_points(v, index), [values])


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda p: farthest_points(p, 0), 'asked for 0 of 60 points'),
        (lambda p: farthest_points(p, 61), 'ask for 1 to 60'),
        (lambda p: nearest_points(p, p, 61), '61 neighbors in a cloud of 60'),
        (lambda p: nearest_points(p[:1], p, 3), 'batch has to be the same'),
        (lambda p: nearest_points(p, p[:, :0], 3), 'at least one point'),
        (lambda p: farthest_points(p[0], 3), r'must be \[B, N, 3\]'),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(scattered())


@pytest.mark.cuda
@CLOUDS
def test_cuda_finds_the_same_distances(cloud):
    """mmcv's kernels may choose another one of points at the same distance."""
    here, there = (
        nearest_points(cloud[:, ::3].to(device), cloud.to(device), 8)[1]
        for device in ('cpu', 'cuda')
    )
    torch.testing.assert_close(there.cpu(), here)
    chosen = [farthest_points(cloud.to(device), 12).cpu() for device in ('cpu', 'cuda')]
    spreads = [
        nearest_points(cloud, gather_points(cloud, each), 1)[1].amax()
        for each in chosen
    ]
    torch.testing.assert_close(*spreads)
