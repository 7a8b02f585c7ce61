"""Following storages: what counts, from when, until when."""

import pytest
import torch

from dr2net_mm.analysis.memory.storage_meter import LiveBytes, StorageMeter

FLOAT = 4


def test_a_storage_counts_from_its_creation_until_its_last_owner_lets_go():
    with StorageMeter() as meter:
        first = torch.empty(10, device='meta')
        second = first + 1
        assert meter.live_bytes() == 20 * FLOAT
        del first
        assert meter.live_bytes() == 10 * FLOAT
        del second
    assert meter.live_bytes() == 0
    assert meter.peak_bytes() == 20 * FLOAT


def test_views_and_results_in_place_cost_nothing_and_keep_the_storage_alive():
    with StorageMeter() as meter:
        whole = torch.empty(10, device='meta')
        part = whole[2:4].unsqueeze(0).expand(5, 2)
        whole.add_(1)
        del whole
        assert meter.live_bytes() == 10 * FLOAT
        del part
        assert meter.live_bytes() == 0


def test_what_the_graph_saves_counts_after_the_tensor_is_gone():
    x = torch.empty(10, device='meta', requires_grad=True)
    with StorageMeter([x]) as meter:
        y = (x * 2).exp()
        y = y.sum()
        # exp saves its result, the product saves nothing but a number
        assert meter.live_bytes() == 11 * FLOAT
        del y
        assert meter.live_bytes() == 0


def test_an_argument_that_is_resized_in_place_counts_with_its_new_size():
    with StorageMeter() as meter:
        out = torch.empty(0, device='meta')
        torch.add(torch.empty(10, device='meta'), 1, out=out)
        assert meter.live_bytes() == 10 * FLOAT


def test_a_tensor_made_earlier_counts_from_its_first_use():
    cached = torch.empty(10, dtype=torch.int64, device='meta')
    table = torch.empty(5, device='meta')
    with StorageMeter([table]) as meter:
        assert meter.live_bytes() == 0
        picked = table[cached]
        assert meter.live_bytes() == 10 * 8 + 10 * FLOAT
    del picked


def test_resident_tensors_and_other_devices_do_not_count():
    resident = torch.empty(10, device='meta')
    with StorageMeter([resident]) as meter:
        kept = [resident.view(2, 5), resident.mul_(2), torch.empty(1000)]
        assert meter.live_bytes() == 0
    del kept


def test_a_gradient_is_left_out_from_the_moment_its_storage_appeared():
    with StorageMeter() as meter:
        gradient = torch.empty(10, device='meta')
        activation = torch.empty(1, device='meta')
        meter.mark_gradient(gradient.view(5, 2))
    assert meter.peak_bytes() == meter.live_bytes() == FLOAT
    assert meter.peak_bytes(gradients=True) == 11 * FLOAT
    del activation


def test_a_sparse_tensor_is_refused_rather_than_miscounted():
    with pytest.raises(NotImplementedError, match='sparse_coo'):
        with StorageMeter(device='cpu'):
            torch.eye(3).to_sparse()


def test_live_bytes_are_counted_without_a_record():
    with LiveBytes() as meter:
        first = torch.zeros(10)
        second = first + 1
        del first
        assert (meter.now, meter.peak) == (40, 80)
        meter.restart_peak()
        assert meter.peak == 40
        del second
    assert meter.now == 0
