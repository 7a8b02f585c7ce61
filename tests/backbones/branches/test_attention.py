"""The attention branch against mmaction's VideoMAE ``Attention`` itself."""

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import nn

from dr2net_mm.backbones.branches import AttentionBranch

from mmaction.models.backbones.vit_mae import Attention  # isort: skip

CHANNELS, TOKENS = 12, 15


def attention(gamma=False, **arguments):
    """Norm, attention and gamma with random weights."""
    module = Attention(CHANNELS, **{'num_heads': 3, **arguments})
    norm = nn.LayerNorm(CHANNELS)
    found = nn.Parameter(torch.empty(CHANNELS)) if gamma else None
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (*module.parameters(), *norm.parameters(), found):
            if parameter is not None:
                parameter.normal_(0, 0.7, generator=generator)
    return norm, module, found


def samples(batch=5, dtype=torch.float32):
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, TOKENS, CHANNELS, generator=generator, dtype=dtype)


def branch_of(norm, module, gamma=None, drop_path=None, chunk=None):
    drop_path = drop_path or nn.Identity()
    return AttentionBranch(norm, module, drop_path, TOKENS, chunk, gamma)


def evaluate(branch, x):
    """The branch on a whole stream, by its pieces."""
    drop_mask = branch.drop_mask(x)
    parts = [branch(p.read(x), p, drop_mask) for p in branch.pieces(x)]
    return torch.cat([part.reshape(-1, CHANNELS) for part in parts]).view(x.shape)


@pytest.mark.parametrize('chunk', [None, 1, TOKENS, 2 * TOKENS + 1, 10**6, 'auto'])
@pytest.mark.parametrize(
    'arguments',
    [
        {},
        dict(qkv_bias=False),
        dict(qk_scale=0.7),
        dict(num_heads=1),
        dict(gamma=True),
        dict(attn_drop_rate=0.3, drop_rate=0.3),
    ],
    ids=str,
)
def test_it_is_mmactions_attention(arguments, chunk):
    norm, module, gamma = attention(**arguments)
    norm, module = norm.double(), module.double().eval()
    gamma = None if gamma is None else nn.Parameter(gamma.double())
    branch = branch_of(norm, module, gamma, chunk=chunk)
    parameters = [*norm.parameters(), *module.parameters()]
    parameters += [] if gamma is None else [gamma]
    assert {id(p) for p in branch.parameters()} == {id(p) for p in parameters}
    results = []
    for function in (
        lambda x: module(norm(x)) * (1 if gamma is None else gamma),
        lambda x: evaluate(branch, x),
    ):
        x = samples(dtype=torch.float64).requires_grad_()
        out = function(x)
        loss = (out * samples(7, torch.float64)[:5].sin()).sum()
        results.append((out, *torch.autograd.grad(loss, [x, *parameters])))
    for wanted, found in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_float32_is_mmactions_to_rounding():
    norm, module, _ = attention()
    x = samples()
    found = evaluate(branch_of(norm, module), x)
    wanted = module(norm(x))
    # Where terms cancel, the rounding of the largest ones is left.
    largest = wanted.abs().max().item()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6 * largest)


@pytest.mark.parametrize('chunk', [1, 2 * TOKENS, 4 * TOKENS - 1])
def test_pieces_are_whole_samples_that_hold_every_token_once(chunk):
    branch = branch_of(*attention(), chunk=chunk)
    pieces = branch.pieces(samples())
    counts = [piece.read(samples()).shape[0] for piece in pieces]
    largest = branch.piece_tokens(5 * TOKENS, CHANNELS)
    assert largest == max(1, chunk // TOKENS) * TOKENS
    assert sum(counts) == 5 * TOKENS and max(counts) == largest
    assert all(count % TOKENS == 0 for count in counts)
    starts = [piece.index.start for piece in pieces]
    assert starts == list(range(0, 5 * TOKENS, largest))


def test_a_sample_is_not_cut():
    branch = branch_of(*attention(), chunk=1)
    (piece,) = branch.pieces(samples(1))
    assert piece.index is None
    assert branch.piece_tokens(TOKENS, CHANNELS) is None


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize(
    'dropout', [{}, dict(attn_drop_rate=0.3)], ids=['fused', 'attention dropout']
)
def test_outputs_and_gradients_come_out_with_the_same_bits_again(dropout, amp):
    norm, module, gamma = attention(gamma=True, **dropout)
    branch = branch_of(norm, module, gamma, chunk=2 * TOKENS)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        x = samples().requires_grad_()
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
            out = evaluate(branch, x)
        wanted = [x, *branch.parameters()]
        results.append((out, *torch.autograd.grad(out.float().sin().sum(), wanted)))
    for one, other in zip(*results):
        assert torch.equal(one, other)


@pytest.mark.parametrize('rate', ['attn_drop_rate', 'drop_rate'])
def test_dropout_is_on_in_training_and_right_on_average(rate):
    torch.manual_seed(0)
    norm, module, _ = attention(**{rate: 0.3})
    branch, x = branch_of(norm, module), samples(1)
    with torch.no_grad():
        assert not torch.equal(evaluate(branch, x), evaluate(branch, x))
        mean = sum(evaluate(branch, x) for _ in range(2000)) / 2000
        module.eval()
        wanted = evaluate(branch, x)
    assert (mean - wanted).norm() / wanted.norm() < 0.05


@pytest.mark.parametrize('chunk', [None, 7 * TOKENS])
def test_drop_path_drops_samples_and_scales_those_that_stay(chunk):
    torch.manual_seed(0)
    norm, module, gamma = attention(gamma=True)
    drop_path = DropPath(0.4)
    branch = branch_of(norm, module, gamma, drop_path, chunk)
    x = samples(40)
    with torch.no_grad():
        dropped = evaluate(branch, x)
        drop_path.eval()
        whole = evaluate(branch, x)
    kept = dropped.flatten(1).any(dim=1)
    assert 0 < kept.sum() < 40
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.6)


def test_another_layer_in_place_of_drop_path_is_refused():
    branch = branch_of(*attention(), drop_path=nn.Dropout(0.1))
    with pytest.raises(TypeError, match='must be DropPath or Identity, got Dropout'):
        branch.drop_mask(samples())


def test_on_meta_tensors_no_matrix_of_weights_is_made():
    norm, module, _ = attention()
    branch = branch_of(norm.to('meta'), module.to('meta'))
    branch.group = 10**6
    x = torch.empty(1, 10**6, CHANNELS, device='meta', requires_grad=True)
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        out = branch(x, branch.pieces(x)[0], None)
    assert out.shape == x.shape
    assert max(sizes) <= 3 * x.numel()
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.shape == x.shape
