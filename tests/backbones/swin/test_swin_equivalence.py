"""``Dr2SwinTransformer`` against networks written by hand on mmdet's own blocks.

The networks by hand call nothing of dr2net_mm (see ``by_hand`` in conftest.py). In
float arithmetic ours agrees with them to rounding. In exact arithmetic it agrees with
them to the fixed-point step, and bit for bit once they round where ours does.
"""

import pytest
import torch

STEP = 2.0**-16

#: Grids of 16x13, 12x16 and 22x10 tokens and their halves: no multiples of 7.
SIZES = [(64, 52), (45, 61), (88, 40)]

FAMILY = [(1, 0.1), (0.7, 0.4), (0.5, 0.5), (0.3, 0.7), (0.4, 0.7), (0, 1), (1, 1)]


def rev_net(x, functions):
    """Two streams that change in turn (RevNet, arXiv:1707.04585)."""
    first, second = x, x
    for attention, feed_forward in zip(functions[::2], functions[1::2]):
        first = first + attention(second)
        second = second + feed_forward(first)
    return second


def dr_net(x, functions):
    """Every layer adds the outputs of the two layers before it."""
    states = [x, x]
    for function in functions:
        states.append(function(states[-1]) + states[-1] + states[-2])
    return states[-1]


def straight_through(values, rounded):
    return values + (rounded - values).detach()


def fixed_point(alpha, beta):
    """The stage in exact arithmetic, in floating point: streams are multiples of
    STEP, and rounding passes gradients on."""
    beta = round(beta / STEP) * STEP

    def round_(x):
        return straight_through(x, torch.round(x / STEP) * STEP)

    def times_beta(x):
        return straight_through(beta * x, torch.floor(beta * x / STEP) * STEP)

    def run_stage(x, functions):
        x = round_(x)
        y = times_beta(x)
        for function in functions:
            x, y = round_(function(x) + alpha * x) + y, times_beta(x)
        return x

    return run_stage


def assert_outputs_within(found, wanted, tolerance):
    """Compare feature maps by the norm of their difference."""
    assert len(found.outputs) == len(wanted.outputs) == 4
    for one, other in zip(found.outputs, wanted.outputs):
        assert one.shape == other.shape
        error = (one - other).norm() / other.norm()
        assert error < tolerance


@pytest.mark.parametrize('chunk', [None, 60])
@pytest.mark.parametrize('size', SIZES)
def test_one_and_zero_is_mmdets_swin_in_float_arithmetic(swin, size, chunk):
    options = dict(alpha=1, beta=0, arithmetic='float', backprop='stored', chunk=chunk)
    model = swin.build(dual_residual=options)
    plain = swin.plain(model)
    image = swin.image(*size, batch=2)
    found, wanted = swin.step(model, model, image), swin.step(plain, plain, image)
    assert_outputs_within(found, wanted, 1e-6)
    assert swin.relative_error(found, wanted) < 1e-5


@pytest.mark.parametrize('chunk', [None, 60])
@pytest.mark.parametrize('size', SIZES)
def test_one_and_zero_is_mmdets_swin_to_a_few_steps_in_exact_arithmetic(
    swin, size, chunk
):
    model = swin.build(dual_residual=dict(alpha=1, beta=0, chunk=chunk))
    plain = swin.plain(model)
    image = swin.image(*size)
    found, wanted = swin.step(model, model, image), swin.step(plain, plain, image)
    # Twenty roundings of half a step each, which norms scale to outputs of about 1.
    for one, other in zip(found.outputs, wanted.outputs):
        assert (one - other).abs().max() < 20 * STEP / 2
    assert swin.relative_error(found, wanted) < 1e-4


def test_the_difference_at_one_and_zero_is_what_rounding_to_a_step_can_make(swin):
    # Ours rounds every x_i to a multiple of STEP: it adds e_i with |e_i| <= STEP / 2.
    # To first order an output changes by sum_i <do/dx_i, e_i>, so by no more than
    # STEP / 2 · sum_i |do/dx_i|_1. Nothing else differs in float64.
    model = swin.build(dual_residual=dict(alpha=1, beta=0)).double()
    image = swin.image(45, 61).double()
    states = []

    def remember(x):
        states.append(x)
        return x

    wanted = swin.by_hand(model, image, swin.family(1, 0, remember))
    assert len(states) == 4 * (1 + 4)
    with torch.no_grad():
        found = model(image)
    for i, (one, other) in enumerate(zip(found, wanted)):
        for position in (0, other.numel() // 2, other.numel() - 1):
            output = other.reshape(-1)[position]
            slopes = torch.autograd.grad(
                output, states, retain_graph=True, allow_unused=True
            )
            total = sum(float(s.abs().sum()) for s in slopes if s is not None)
            difference = abs(float(one.reshape(-1)[position] - output.detach()))
            assert 0 < difference < STEP / 2 * total, (i, position)


@pytest.mark.parametrize('chunk', [None, 60])
@pytest.mark.parametrize(
    'coefficients, by_hand',
    [((0, 1), rev_net), ((1, 1), dr_net)],
    ids=['revnet', 'drnet'],
)
def test_the_corners_of_the_family_are_revnet_and_drnet(
    swin, coefficients, by_hand, chunk
):
    alpha, beta = coefficients
    image = swin.image(67, 93, batch=2)
    for arithmetic, tolerance in (('float', 1e-6), ('exact', 1e-4)):
        for backprop in ('reversible', 'stored'):
            options = dict(alpha=alpha, beta=beta, arithmetic=arithmetic)
            options.update(backprop=backprop, chunk=chunk)
            model = swin.build(dual_residual=options)
            found = swin.step(model, model, image)
            wanted = swin.step(
                lambda x, model=model: swin.by_hand(model, x, by_hand), model, image
            )
            assert_outputs_within(found, wanted, tolerance)
            assert swin.relative_error(found, wanted) < max(tolerance, 1e-5)


@pytest.mark.parametrize('alpha, beta', FAMILY)
@pytest.mark.parametrize('arithmetic', ['float', 'exact'])
def test_the_family_is_its_equations_in_float64(swin, alpha, beta, arithmetic):
    options = dict(alpha=alpha, beta=beta, arithmetic=arithmetic, backprop='stored')
    model = swin.build(dual_residual=options)
    image = swin.image(45, 61)
    found = swin.step(model, model, image)
    model.double()
    wanted = swin.step(
        lambda x: swin.by_hand(model, x, swin.family(alpha, beta)),
        model,
        image.double(),
    )
    # float32 has 6e-8 a rounding; a fixed-point step is 1.5e-5 in streams of about 1.
    outputs, gradients = dict(float=(2e-6, 1e-5), exact=(1e-4, 1e-4))[arithmetic]
    assert_outputs_within(found, wanted, outputs)
    assert swin.relative_error(found, wanted) < gradients


@pytest.mark.parametrize('alpha, beta', [(1, 0), (1, 0.01), *FAMILY])
@pytest.mark.parametrize('backprop', ['reversible', 'stored'])
def test_exact_arithmetic_is_its_equations_rounded(swin, alpha, beta, backprop):
    # In float64, where the branches of both sides agree to 1e-15, a step of 1.5e-5
    # goes the other way on one side only if a number is that close to a tie.
    options = dict(alpha=alpha, beta=beta, backprop=backprop)
    model = swin.build(dual_residual=options).double()
    image = swin.image(45, 61).double()
    found = swin.step(model, model, image)
    wanted = swin.step(
        lambda x: swin.by_hand(model, x, fixed_point(alpha, beta)), model, image
    )
    assert_outputs_within(found, wanted, 1e-12)
    assert swin.relative_error(found, wanted) < 1e-12


@pytest.mark.parametrize('arithmetic', ['float', 'exact'])
def test_mean_fusion_is_the_mean_of_both_streams(swin, arithmetic):
    options = dict(alpha=0.3, beta=0.7, arithmetic=arithmetic, fusion='mean')
    model = swin.build(dual_residual=options)
    image = swin.image(45, 61)
    found = swin.step(model, model, image)
    wanted = swin.step(
        lambda x: swin.by_hand(model, x, swin.family(0.3, 0.7, fusion='mean')),
        model,
        image,
    )
    tolerance = dict(float=1e-5, exact=1e-4)[arithmetic]
    assert_outputs_within(found, wanted, tolerance)
    assert swin.relative_error(found, wanted) < tolerance


def test_coefficients_that_change_take_effect_in_the_next_forward_pass(swin):
    model = swin.build()
    image = swin.image(64, 64)
    for alpha, beta in ((1.0, 0.0), (0.7, 0.4), (0.0, 1.0)):
        model.set_coefficients(alpha, beta)
        found = swin.step(model, model, image)
        wanted = swin.step(
            lambda x, stage=swin.family(alpha, beta): swin.by_hand(model, x, stage),
            model,
            image,
        )
        assert_outputs_within(found, wanted, 1e-4)
        assert swin.relative_error(found, wanted) < 1e-4
