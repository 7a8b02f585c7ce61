"""Gradients of ``Dr2SwinTransformer``: reversible against stored, and float64."""

import pytest
import torch

COEFFICIENTS = [
    (1, 0.1),
    (1, 0.01),
    (0.7, 0.4),
    (0.5, 0.5),
    (0.3, 0.7),
    (0, 1),
    (1, 1),
]
SWIN_T_DEPTHS, SWIN_L_DEPTHS = (2, 2, 6, 2), (2, 2, 18, 2)
DROPS = dict(drop_path_rate=0.3, drop_rate=0.1, attn_drop_rate=0.1)


def reversible_and_stored(swin, image, amp=None, train=True, arguments=None, **options):
    """One training step with each of the two backward passes."""
    steps = []
    for backprop in ('reversible', 'stored'):
        model = swin.build(
            **(arguments or {}), dual_residual=dict(options, backprop=backprop)
        ).train(train)

        def forward(x, model=model):
            with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp == 'bf16'):
                return model(x)

        steps.append(swin.step(forward, model, image))
    return steps


@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('alpha, beta', COEFFICIENTS)
@pytest.mark.parametrize(
    'depths', [SWIN_T_DEPTHS, SWIN_L_DEPTHS], ids=['swin-t-depths', 'swin-l-depths']
)
def test_exact_arithmetic_has_the_stored_gradients_bit_for_bit(
    swin, depths, alpha, beta, amp
):
    # One half of the cases in one piece a branch, the other half in many.
    chunk = None if (alpha + beta) * 10 % 2 < 1 else 60
    found, wanted = reversible_and_stored(
        swin,
        swin.image(36, 44, batch=2),
        amp=amp,
        arguments=dict(depths=depths, **DROPS),
        alpha=alpha,
        beta=beta,
        chunk=chunk,
    )
    swin.assert_bitwise_equal(found, wanted)
    for name, gradient in found.gradients.items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.dtype == torch.float32
    assert found.gradients['image'].any()


@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('chunk', [None, 'auto', 5, 49, 100, 10**6])
def test_gradients_are_the_stored_ones_in_pieces_of_any_size(swin, chunk, amp):
    found, wanted = reversible_and_stored(
        swin,
        swin.image(36, 44, batch=3),
        amp=amp,
        arguments=dict(depths=(2, 2, 1, 1), **DROPS),
        chunk=chunk,
    )
    swin.assert_bitwise_equal(found, wanted)


@pytest.mark.parametrize('memory_budget', [0, 10**5, 0.3, 0.6, 1.0, 10**9])
def test_gradients_are_the_stored_ones_under_any_memory_budget(swin, memory_budget):
    image = swin.image(52, 64, batch=2)
    steps = []
    for options in (
        dict(memory_budget=memory_budget, chunk=60),
        dict(backprop='stored', chunk=60),
    ):
        model = swin.build(**DROPS, dual_residual=options)
        steps.append(swin.step(model, model, image))
    swin.assert_bitwise_equal(*steps)


@pytest.mark.parametrize('rate', sorted(DROPS))
def test_each_kind_of_dropout_is_replayed_and_changes_the_gradients(swin, rate):
    arguments = dict(depths=(2, 2, 2, 2), **{**dict.fromkeys(DROPS, 0.0), rate: 0.4})
    image = swin.image(48, 48, batch=2)
    active, stored = reversible_and_stored(swin, image, arguments=arguments, chunk=60)
    swin.assert_bitwise_equal(active, stored)
    off, off_stored = reversible_and_stored(
        swin, image, arguments=arguments, train=False, chunk=60
    )
    swin.assert_bitwise_equal(off, off_stored)
    assert swin.relative_error(active, off) > 1e-2


@pytest.mark.parametrize('fusion', ['last', 'mean'])
@pytest.mark.parametrize('alpha, beta', [(1, 0), (1, 0.1), (0, 1)])
def test_both_fusions_have_the_stored_gradients_bit_for_bit(swin, fusion, alpha, beta):
    found, wanted = reversible_and_stored(
        swin, swin.image(64, 40), alpha=alpha, beta=beta, fusion=fusion
    )
    swin.assert_bitwise_equal(found, wanted)


def test_gradients_are_the_stored_ones_bit_for_bit_in_float64(swin):
    steps = []
    for backprop in ('reversible', 'stored'):
        model = swin.build(dual_residual=dict(backprop=backprop)).double()
        steps.append(swin.step(model, model, swin.image(52, 64).double()))
    assert steps[0].gradients['image'].dtype == torch.float64
    swin.assert_bitwise_equal(*steps)


def test_the_checksums_of_the_debug_switch_agree_on_real_blocks(swin):
    found, wanted = reversible_and_stored(
        swin,
        swin.image(52, 64, batch=2),
        arguments=dict(depths=SWIN_T_DEPTHS, **DROPS),
        chunk=60,
        verify=True,
    )
    swin.assert_bitwise_equal(found, wanted)


def test_gradients_of_two_forward_passes_add_up(swin):
    sums = []
    for backprop in ('reversible', 'stored'):
        model = swin.build(dual_residual=dict(backprop=backprop))
        first, second = swin.image(52, 64), swin.image(40, 36)
        losses = [sum(o.square().mean() for o in model(x)) for x in (first, second)]
        (losses[0] + losses[1]).backward()
        sums.append([parameter.grad for parameter in model.parameters()])
    for found, wanted in zip(*sums):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_a_second_backward_pass_says_what_to_do(swin):
    model = swin.build()
    loss = sum(output.mean() for output in model(swin.image(32, 32)))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backprop='stored'"):
        loss.backward()


def test_weights_that_change_before_the_backward_pass_are_noticed(swin):
    model = swin.build()
    loss = sum(output.mean() for output in model(swin.image(32, 32)))
    with torch.no_grad():
        model.stages[2].blocks[0].norm1.weight.mul_(2)
    with pytest.raises(RuntimeError, match='stage 3, branch 1 was changed in place'):
        loss.backward()


def rounded(beta):
    """The coefficient that exact arithmetic uses: a multiple of 2**-16."""
    return round(beta * 2**16) / 2**16


@pytest.mark.parametrize(
    'depths', [SWIN_T_DEPTHS, SWIN_L_DEPTHS], ids=['swin-t-depths', 'swin-l-depths']
)
@pytest.mark.parametrize('alpha, beta', COEFFICIENTS)
def test_exact_gradients_are_close_to_those_of_float64(swin, depths, alpha, beta):
    # The reference is the equations on mmdet's blocks, without fixed-point numbers.
    # Streams are rounded by up to 1.5e-5 of their size of about 1 at every branch,
    # and the gradients are those at the rounded streams: their error is a small
    # multiple of that, and does not grow with 1/beta as that of float arithmetic.
    image = swin.image(52, 64)
    model = swin.build(depths=depths, dual_residual=dict(alpha=alpha, beta=beta))
    found = swin.step(model, model, image)
    model.double()
    reference = swin.step(
        lambda x: swin.by_hand(model, x, swin.family(alpha, rounded(beta))),
        model,
        image.double(),
    )
    assert swin.relative_error(found, reference) < 2e-4


# The errors of the design document: Swin with depths (2, 2, 6, 2) in fp32 and in bf16
# autocast, and with depths (2, 2, 18, 2) likewise, measured at width 96 and 224²
# pixels. They depend on depth and coefficients, little on width and size.
FLOAT_ERRORS = [
    ((1, 0.1), (0.38, 0.41, float('nan'), float('nan'))),
    ((0.7, 0.4), (4e-4, 0.04, 0.45, 0.48)),
    ((0.3, 0.7), (7e-7, 4e-3, 3e-3, 0.43)),
    ((0, 1), (5e-7, 1e-11, 6e-7, 3e-11)),
]


@pytest.mark.filterwarnings('ignore:float arithmetic at')
@pytest.mark.parametrize('coefficients, errors', FLOAT_ERRORS, ids=str)
def test_float_arithmetic_cannot_train_where_the_paper_starts(
    swin, coefficients, errors
):
    """Why exact arithmetic, whose error is zero in every cell, is the default."""
    cells = [(d, amp) for d in (SWIN_T_DEPTHS, SWIN_L_DEPTHS) for amp in (None, 'bf16')]
    for (depths, amp), expected in zip(cells, errors):
        found, wanted = reversible_and_stored(
            swin,
            swin.image(40, 48),
            amp=amp,
            arguments=dict(depths=depths),
            alpha=coefficients[0],
            beta=coefficients[1],
            arithmetic='float',
        )
        for one, other in zip(found.outputs, wanted.outputs):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        error = swin.relative_error(found, wanted)
        if expected != expected:
            assert not error < 10, 'float arithmetic did not break down'
        elif expected < 1e-6:
            assert error < 1e-5
        else:
            assert expected / 10 < error < expected * 10
