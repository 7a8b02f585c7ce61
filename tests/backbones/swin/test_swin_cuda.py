"""``Dr2SwinTransformer`` on a GPU."""

import os
from unittest import mock

import pytest
import torch

from dr2net_mm.reversible.kernels import dispatch

pytestmark = pytest.mark.cuda

DROPS = dict(drop_path_rate=0.3, drop_rate=0.1, attn_drop_rate=0.1)


@pytest.fixture(autouse=True)
def deterministic_convolutions(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)


def train(model, image, amp=None):
    """One forward and backward pass from the same random state; the gradients."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    with torch.autocast('cuda', dtype=amp or torch.bfloat16, enabled=amp is not None):
        outputs = model(image)
    sum(output.float().sin().mean() for output in outputs).backward()
    return [parameter.grad for parameter in model.parameters()]


def built(swin, **options):
    return swin.build(**DROPS, dual_residual=options).cuda().train()


@pytest.mark.parametrize('amp', [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('chunk', [None, 'auto', 60])
@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7)])
def test_exact_arithmetic_has_the_stored_gradients_bit_for_bit(
    swin, alpha, beta, chunk, amp
):
    image = swin.image(36, 44, batch=2).cuda()
    found, wanted = (
        train(built(swin, alpha=alpha, beta=beta, chunk=chunk, **options), image, amp)
        for options in (dict(verify=True), dict(backprop='stored'))
    )
    assert all(map(torch.equal, found, wanted))


@pytest.mark.skipif(
    os.environ.get('DR2NET_FUSED') == '0', reason='DR2NET_FUSED=0: no kernels'
)
@pytest.mark.parametrize('amp', [None, torch.bfloat16])
@pytest.mark.parametrize('arithmetic', ['exact', 'float'])
def test_fused_kernels_change_no_bit(swin, arithmetic, amp):
    model = built(swin, arithmetic=arithmetic, alpha=0.5, beta=0.5, chunk=60)
    image = swin.image(36, 44, batch=2).cuda()
    assert dispatch.available(torch.zeros(1, device='cuda'))
    found = train(model, image, amp)
    with mock.patch.object(dispatch, '_works_on', lambda device: False):
        wanted = train(model, image, amp)
    assert all(map(torch.equal, found, wanted))


@pytest.mark.parametrize('amp', [None, torch.bfloat16])
@pytest.mark.parametrize('chunk', ['auto', 60])
def test_forward_and_backward_do_not_wait_for_the_device(swin, chunk, amp):
    model = built(swin, chunk=chunk)
    train(model, swin.image(36, 44, batch=2).cuda(), amp)
    # Another size, so that index tensors are made and copied too.
    image = swin.image(50, 37, batch=2).cuda()
    torch.cuda.set_sync_debug_mode('error')
    try:
        train(model, image, amp)
    finally:
        torch.cuda.set_sync_debug_mode('default')
