"""The window attention branch against mmdet's ``ShiftWindowMSA`` itself."""

import itertools

import pytest
import torch
from mmdet.models.backbones.swin import ShiftWindowMSA
from torch import nn

from dr2net_mm.backbones.branches import WindowAttentionBranch
from dr2net_mm.backbones.branches.windows import window_layout, window_pieces

CHANNELS = 12

#: Every pair has another remainder, and most are smaller than one window somewhere.
LENGTHS = (1, 2, 3, 6, 7, 8, 13, 14, 15, 20)
PAIRS = [
    (height, LENGTHS[(i + shift) % len(LENGTHS)])
    for i, height in enumerate(LENGTHS)
    for shift in (0, 1, 4, 7)
]


def attention(window=7, shift=0, heads=3, seed=0, **arguments):
    """mmdet's attention with random weights, bias tables included."""
    module = ShiftWindowMSA(CHANNELS, heads, window, shift, **arguments)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.5)
    return module


def branch_of(norm, module, size, chunk):
    """The branch of mmdet's ``ShiftWindowMSA``."""
    window, shift = (module.window_size,) * 2, (module.shift_size,) * 2
    return WindowAttentionBranch(
        norm, module.w_msa, module.drop, size, window, shift, chunk
    )


def tokens(size, batch=2, dtype=torch.float32):
    generator = torch.Generator().manual_seed(size[0] * 100 + size[1])
    shape = (batch, size[0] * size[1], CHANNELS)
    return torch.randn(shape, generator=generator, dtype=dtype)


def evaluate(branch, x):
    """The branch on a whole stream, by its pieces."""
    drop_mask = branch.drop_mask(x)
    out = torch.full_like(x, float('nan'))
    for piece in branch.pieces(x):
        piece.write_(out, branch(piece.read(x), piece, drop_mask).to(x.dtype))
    return out


def compare(module, size, chunk, dtype=torch.float64, tolerance=1e-10, norm=None):
    """Outputs and all gradients of the branch and of mmdet's module."""
    norm = norm or nn.Identity()
    module.to(dtype)
    branch = branch_of(norm, module, size, chunk)
    weight = tokens((size[1], size[0]), dtype=dtype)
    results = []
    for function in (
        lambda x: module(norm(x), size),
        lambda x: evaluate(branch, x),
    ):
        x = tokens(size, dtype=dtype).requires_grad_()
        out = function(x)
        parameters = [*module.parameters(), *norm.parameters()]
        results.append(
            (out, *torch.autograd.grad((out * weight).sum(), [x, *parameters]))
        )
    for wanted, found in zip(*results):
        torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('shift', [0, 3])
@pytest.mark.parametrize('chunk', [None, 100])
def test_it_is_mmdets_attention_for_every_remainder(shift, chunk):
    module = attention(shift=shift)
    for size in PAIRS:
        compare(module, size, chunk)


@pytest.mark.parametrize('chunk', [1, 48, 49, 98, 1000, 'auto'])
@pytest.mark.parametrize('size', [(6, 8), (5, 7), (14, 14), (15, 20)])
def test_it_is_mmdets_attention_in_pieces_of_any_size(size, chunk):
    # On 6x8 with a shift every window holds places of several regions, so that all
    # need the mask; on 14x14 a quarter of them need none.
    compare(attention(shift=3), size, chunk)


@pytest.mark.parametrize(
    'window, shift', [(1, 0), (2, 1), (3, 2), (4, 2), (5, 0), (8, 4), (12, 6), (7, 6)]
)
def test_windows_and_shifts_of_other_sizes_are_mmdets(window, shift):
    module = attention(window=window, shift=shift)
    for size in ((1, 1), (3, 5), (8, 8), (11, 10), (13, 24)):
        compare(module, size, 60)


@pytest.mark.parametrize('shift', [0, 3])
def test_float32_and_a_norm_in_front_are_mmdets(shift):
    # Padding stands behind the norm: padded places are zero there, not the norm's
    # bias.
    norm = nn.LayerNorm(CHANNELS)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for size in ((6, 8), (9, 13), (14, 21)):
        compare(
            attention(shift=shift), size, 100, torch.float32, tolerance=1e-4, norm=norm
        )


@pytest.mark.parametrize(
    'arguments', [dict(qkv_bias=False), dict(qk_scale=0.7), dict(heads=1)], ids=str
)
def test_other_arguments_of_the_attention_are_kept(arguments):
    compare(attention(shift=3, **arguments), (9, 13), 100)


@pytest.mark.parametrize('rate', ['attn_drop_rate', 'proj_drop_rate'])
def test_dropout_is_off_in_evaluation_and_on_in_training(rate):
    module = attention(shift=3, **{rate: 0.5}).eval()
    compare(module, (9, 13), 100)
    module.train()
    x = tokens((9, 13), dtype=torch.float64)
    branch = branch_of(nn.Identity(), module, (9, 13), None)
    assert not torch.equal(evaluate(branch, x), evaluate(branch, x))


def test_dropped_attention_is_the_undropped_one_on_average():
    torch.manual_seed(0)
    module = attention(attn_drop_rate=0.3)
    branch = branch_of(nn.Identity(), module, (7, 7), None)
    x = tokens((7, 7), batch=1)
    with torch.no_grad():
        mean = sum(evaluate(branch, x) for _ in range(1000)) / 1000
        module.eval()
        wanted = evaluate(branch, x)
    assert (mean - wanted).norm() / wanted.norm() < 0.05


def test_drop_path_drops_samples_and_scales_those_that_stay():
    torch.manual_seed(0)
    layer = dict(type='DropPath', drop_prob=0.4)
    module = attention(shift=3, dropout_layer=layer)
    branch = branch_of(nn.Identity(), module, (9, 13), 100)
    x = tokens((9, 13), batch=40)
    with torch.no_grad():
        dropped = evaluate(branch, x)
        module.eval()
        whole = evaluate(branch, x)
    kept = dropped.flatten(1).any(dim=1)
    assert 0 < kept.sum() < 40
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.6)


def test_another_dropout_layer_is_refused():
    module = attention(dropout_layer=dict(type='Dropout', drop_prob=0.4))
    branch = branch_of(nn.Identity(), module, (7, 7), None)
    with pytest.raises(TypeError, match='must be DropPath or Identity, got Dropout'):
        branch.drop_mask(tokens((7, 7)))


def test_autocast_computes_in_its_type_close_to_mmdets():
    module = attention(shift=3)
    branch = branch_of(nn.Identity(), module, (9, 13), 100)
    x = tokens((9, 13))
    with torch.no_grad():
        exact = module(x, (9, 13))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            theirs = module(x, (9, 13))
            ours = [branch(p.read(x), p, None) for p in branch.pieces(x)]
            found = evaluate(branch, x)
    assert all(out.dtype == theirs.dtype == torch.bfloat16 for out in ours)
    error = (found - exact).norm() / exact.norm()
    assert error < 2 * (theirs.float() - exact).norm() / exact.norm()


@pytest.mark.parametrize('windows_per_piece', [None, 1, 2, 5])
@pytest.mark.parametrize('shift', [0, 3])
def test_pieces_hold_every_token_once(shift, windows_per_piece):
    for size in itertools.product((1, 6, 7, 9, 14), repeat=2):
        pieces = window_pieces(
            3, size, (7, 7), (shift, shift), windows_per_piece, torch.device('cpu')
        )
        found = torch.cat([piece.index for piece in pieces]).sort().values
        assert torch.equal(found, torch.arange(3 * size[0] * size[1]))
        for piece in pieces:
            assert piece.context.windows <= (windows_per_piece or 10**6)


def test_a_mask_is_made_only_for_windows_that_need_one():
    assert window_layout((14, 14), (7, 7), (0, 0)).unmasked == 4
    assert window_layout((14, 14), (7, 7), (3, 3)).unmasked == 1
    assert window_layout((28, 21), (7, 7), (3, 3)).unmasked == 3 * 2
    # The whole axis fits into one window, which a shift then tears apart.
    assert window_layout((6, 8), (7, 7), (3, 3)).unmasked == 0
    assert window_layout((7, 70), (7, 7), (3, 3)).unmasked == 0
    for size in ((14, 14), (6, 8)):
        pieces = window_pieces(2, size, (7, 7), (3, 3), None, torch.device('cpu'))
        unmasked = [piece for piece in pieces if piece.context.region is None]
        assert len(unmasked) == (size == (14, 14))


def test_windows_of_three_axes_are_those_of_two_at_depth_one():
    flat = window_layout((9, 13), (7, 7), (3, 3))
    deep = window_layout((1, 9, 13), (1, 7, 7), (0, 3, 3))
    assert torch.equal(flat.index, deep.index)
    assert flat.unmasked == deep.unmasked
    for one, other in zip(flat.region, deep.region):
        assert torch.equal(one[:, None] == one, other[:, None] == other)
