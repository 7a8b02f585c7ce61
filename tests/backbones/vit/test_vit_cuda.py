"""``Dr2VisionTransformer`` on a GPU."""

import pytest
import torch

pytestmark = pytest.mark.cuda

DROPS = dict(drop_path_rate=0.3, drop_rate=0.1, attn_drop_rate=0.1)


@pytest.fixture(autouse=True)
def deterministic_kernels(monkeypatch):
    """The gradients of fused attention come out the same only where that is asked."""
    monkeypatch.setattr(torch.backends.cudnn, 'deterministic', True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


def train(model, video, amp=None):
    """One forward and backward pass from the same random state; the gradients."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    with torch.autocast('cuda', dtype=amp or torch.bfloat16, enabled=amp is not None):
        output = model(video)
    output.float().sin().mean().backward()
    return [parameter.grad for parameter in model.parameters()]


def built(vit, dropout, **options):
    # Fused kernels want heads of a multiple of eight channels.
    arguments = dict(DROPS, embed_dims=32, init_values=0.5)
    if not dropout:
        arguments.update(attn_drop_rate=0.0, depth=24)
    return vit.build(**arguments, dual_residual=options).cuda().train()


@pytest.mark.filterwarnings('ignore:.*deterministic')
@pytest.mark.parametrize('amp', [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('chunk', [None, 'auto', 60])
@pytest.mark.parametrize('dropout', [True, False], ids=['dropout', 'deep'])
def test_exact_arithmetic_has_the_stored_gradients_bit_for_bit(
    vit, dropout, chunk, amp
):
    video = vit.video(batch=3).cuda()
    found, wanted = (
        train(built(vit, dropout, chunk=chunk, **options), video, amp)
        for options in (dict(verify=True), dict(backprop='stored'))
    )
    assert all(map(torch.equal, found, wanted))


@pytest.mark.filterwarnings('ignore:.*deterministic')
@pytest.mark.parametrize('amp', [None, torch.bfloat16])
def test_forward_and_backward_do_not_wait_for_the_device(vit, amp):
    model = built(vit, dropout=True, chunk=60)
    video = vit.video(batch=3).cuda()
    train(model, video, amp)
    torch.cuda.set_sync_debug_mode('error')
    try:
        train(model, video, amp)
    finally:
        torch.cuda.set_sync_debug_mode('default')


def test_a_gpu_computes_what_the_cpu_does(vit):
    model = vit.build(embed_dims=32, init_values=0.5)
    video = vit.video(batch=3)
    wanted = vit.step(model, model, video)
    model.cuda()
    found = vit.step(lambda x: model(x.cuda()).cpu(), model, video)
    for name, gradient in found.gradients.items():
        found.gradients[name] = gradient.cpu()
    assert vit.relative_error(found, wanted) < 1e-3
