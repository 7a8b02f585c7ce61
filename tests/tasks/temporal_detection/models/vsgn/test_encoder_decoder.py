import pytest
import torch

from dr2net_mm.tasks.temporal_detection.models.vsgn.decoder import PyramidDecoder
from dr2net_mm.tasks.temporal_detection.models.vsgn.encoder import (
    GraphConvolution,
    GraphLevel,
    PyramidEncoder,
    nearest_neighbors,
)


@pytest.mark.parametrize('use_graph', [True, False])
def test_levels_of_the_encoder_halve_and_the_decoder_keeps_their_lengths(use_graph):
    encoder = PyramidEncoder(6, channels=8, num_levels=5, use_graph=use_graph)
    levels = encoder(torch.randn(2, 6, 256))
    lengths = [128, 64, 32, 16, 8]
    assert [tuple(level.shape) for level in levels] == [(2, 8, n) for n in lengths]
    decoded = PyramidDecoder(8, num_levels=5)(levels)
    assert [tuple(level.shape) for level in decoded] == [(2, 8, n) for n in lengths]


def test_widths_and_sizes_of_the_default_encoder_are_those_of_the_recipe():
    encoder = PyramidEncoder(400)
    assert encoder.stem[0].weight.shape == (256, 400, 3)
    assert encoder.stem[0].stride == (1,)
    assert len(encoder.levels) == 5
    for level in encoder.levels:
        assert level.conv.weight.shape == (256, 256, 3)
        assert level.graph.edge.weight.shape == (256, 512)
        assert level.graph.num_neighbors == 10


def test_neighbors_are_near_in_feature_space_and_not_in_time():
    # Two clusters that alternate in time, the second video with them swapped.
    line = torch.tensor([0.0, 10.0, 0.1, 10.2, 0.3, 10.5])
    features = torch.stack((line, 10 - line))[:, None]  # [2, 1, 6]
    index = nearest_neighbors(features, 3)
    assert index.shape == (2, 6, 3)
    for video in index.tolist():
        for position, neighbors in enumerate(video):
            assert neighbors[0] == position
            assert {n % 2 for n in neighbors} == {position % 2}
    assert index[0, 4].tolist() == [4, 2, 0]


def test_small_differences_of_large_features_decide_between_neighbors():
    features = torch.tensor([1000.0, 1000.02, 1000.05, 1000.09])[None, None]
    features = features.expand(1, 64, 4)
    assert nearest_neighbors(features, 2)[0].tolist() == [
        [0, 1],
        [1, 0],
        [2, 1],
        [3, 2],
    ]


def test_all_positions_are_neighbors_where_there_are_fewer_than_asked_for():
    index = nearest_neighbors(torch.randn(1, 3, 4), 10)
    assert index.shape == (1, 4, 4)
    assert index.sort(dim=-1).values[0].tolist() == [[0, 1, 2, 3]] * 4


def test_graph_is_the_maximum_over_edges_of_the_linear_map_of_both_ends():
    torch.manual_seed(0)
    graph = GraphConvolution(5, num_neighbors=3)
    x = torch.randn(2, 5, 7)
    index = nearest_neighbors(x, 3)
    expected = torch.empty_like(x)
    for b in range(2):
        for i in range(7):
            edges = [torch.cat((x[b, :, j], x[b, :, i])) for j in index[b, i]]
            expected[b, :, i] = graph.edge(torch.stack(edges)).amax(dim=0)
    torch.testing.assert_close(graph(x), expected)


def test_a_level_with_graph_adds_both_paths_before_the_pool():
    torch.manual_seed(0)
    level = GraphLevel(4, num_neighbors=2)
    x = torch.randn(1, 4, 6)
    both = torch.relu(level.conv(x) + level.graph(x))
    padded = torch.nn.functional.pad(both, (1, 1))
    expected = torch.stack([padded[..., 2 * i : 2 * i + 3].amax(-1) for i in range(3)])
    torch.testing.assert_close(level(x), expected.permute(1, 2, 0))


def test_videos_of_a_batch_share_no_edges():
    torch.manual_seed(0)
    graph = GraphConvolution(4, num_neighbors=3)
    x = torch.randn(3, 4, 8)
    alone = torch.cat([graph(video[None]) for video in x])
    torch.testing.assert_close(graph(x), alone)


def test_decoder_brings_the_coarsest_level_to_the_finest():
    torch.manual_seed(0)
    decoder = PyramidDecoder(4, num_levels=3)
    levels = [torch.randn(1, 4, n, requires_grad=True) for n in (8, 4, 2)]
    decoder(levels)[0].sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)


def test_a_level_of_the_decoder_is_the_fused_sum_of_lateral_and_coarser_level():
    torch.manual_seed(0)
    decoder = PyramidDecoder(4, num_levels=2)
    fine, coarse = torch.randn(1, 4, 4), torch.randn(1, 4, 2)
    out_fine, out_coarse = decoder([fine, coarse])
    top = decoder.fusions[1](coarse)
    torch.testing.assert_close(out_coarse, top)
    merged = decoder.laterals[0](fine) + decoder.upsamples[0](top)
    torch.testing.assert_close(out_fine, decoder.fusions[0](merged))
