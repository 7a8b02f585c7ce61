"""Gradients of ``Dr2VisionTransformer``: against stored ones, float64 and mmaction."""

import pytest
import torch

COEFFICIENTS = [(1, 0), (1, 0.1), (1, 0.01), (0.3, 0.7), (0, 1), (1, 1)]
DROPS = dict(drop_path_rate=0.3, drop_rate=0.1, attn_drop_rate=0.1)
VARIANTS = [
    {},
    dict(init_values=0.5),
    dict(qkv_bias=False),
    dict(use_learnable_pos_emb=True),
    dict(return_feat_map=True),
    dict(use_mean_pooling=False),
    dict(use_mean_pooling=False, return_feat_map=True),
]


def reversible_and_stored(vit, amp=False, arguments=None, video=None, **options):
    """One training step with each of the two backward passes."""
    steps = []
    for backprop in ('reversible', 'stored'):
        model = vit.build(
            **(arguments or {}), dual_residual=dict(options, backprop=backprop)
        ).train()

        def forward(x, model=model):
            with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
                return model(x)

        steps.append(
            vit.step(forward, model, vit.video(batch=3) if video is None else video)
        )
    return steps


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('alpha, beta', COEFFICIENTS)
def test_exact_arithmetic_has_the_stored_gradients_bit_for_bit(vit, alpha, beta, amp):
    found, wanted = reversible_and_stored(
        vit, amp, dict(DROPS, init_values=0.5), alpha=alpha, beta=beta
    )
    vit.assert_bitwise_equal(found, wanted)
    assert found.gradients['image'].any()
    for name, gradient in found.gradients.items():
        assert torch.isfinite(gradient).all(), name
        assert gradient.dtype == torch.float32


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('arguments', VARIANTS, ids=str)
def test_every_variant_has_the_stored_gradients_bit_for_bit(vit, arguments, amp):
    found, wanted = reversible_and_stored(vit, amp, dict(DROPS, **arguments))
    vit.assert_bitwise_equal(found, wanted)
    unused = {name for name, gradient in found.gradients.items() if gradient is None}
    pooled = arguments.get('use_mean_pooling', True)
    mapped = arguments.get('return_feat_map', False)
    behind = {'fc_norm.weight', 'fc_norm.bias'} if pooled and mapped else set()
    assert unused == behind


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
def test_the_depth_of_vit_l_is_exact_where_the_paper_starts(vit, amp):
    found, wanted = reversible_and_stored(
        vit, amp, dict(DROPS, depth=24), alpha=1, beta=0.1, verify=True
    )
    vit.assert_bitwise_equal(found, wanted)


@pytest.mark.parametrize('chunk', [None, 'auto', 1, 48, 100, 10**6])
@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
def test_gradients_are_the_stored_ones_in_pieces_of_any_size(vit, chunk, amp):
    arguments = dict(DROPS, init_values=0.5)
    found, wanted = reversible_and_stored(vit, amp, arguments, chunk=chunk)
    vit.assert_bitwise_equal(found, wanted)


def test_pieces_do_not_change_the_gradients(vit):
    video = vit.video(batch=4).double()
    steps = []
    for chunk in (None, 96):
        model = vit.build(dual_residual=dict(chunk=chunk)).double()
        steps.append(vit.step(model, model, video))
    # A rounded number may fall on the next fixed-point step.
    assert vit.relative_error(*steps) < 1e-4


@pytest.mark.parametrize('memory_budget', [0, 10**5, 0.4, 1.0, 10**9])
def test_gradients_are_the_stored_ones_under_a_memory_budget(vit, memory_budget):
    steps = []
    for options in (dict(memory_budget=memory_budget), dict(backprop='stored')):
        model = vit.build(**DROPS, dual_residual=dict(options, chunk=60))
        steps.append(vit.step(model, model, vit.video(batch=3)))
    vit.assert_bitwise_equal(*steps)


@pytest.mark.parametrize('rate', sorted(DROPS))
def test_each_kind_of_dropout_is_replayed_and_changes_the_gradients(vit, rate):
    arguments = {**dict.fromkeys(DROPS, 0.0), rate: 0.4}
    active, stored = reversible_and_stored(vit, arguments=arguments, chunk=60)
    vit.assert_bitwise_equal(active, stored)
    model = vit.build(**arguments, dual_residual=dict(chunk=60)).eval()
    off = vit.step(model, model, vit.video(batch=3))
    assert vit.relative_error(active, off) > 1e-2


@pytest.mark.parametrize('fusion', ['last', 'mean'])
def test_both_fusions_have_the_stored_gradients_bit_for_bit(vit, fusion):
    found, wanted = reversible_and_stored(vit, alpha=0.3, beta=0.7, fusion=fusion)
    vit.assert_bitwise_equal(found, wanted)


@pytest.mark.parametrize('size', [(6, 32, 32), (6, 40, 16), (7, 37, 50)], ids=str)
@pytest.mark.parametrize('learned', [False, True], ids=['sinusoid', 'learnable'])
def test_frames_of_other_sizes_have_the_stored_gradients(vit, size, learned):
    found, wanted = reversible_and_stored(
        vit, arguments=dict(use_learnable_pos_emb=learned), video=vit.video(*size)
    )
    vit.assert_bitwise_equal(found, wanted)
    assert ('pos_embed' in found.gradients) == learned


def test_float_arithmetic_has_close_gradients_where_it_is_stable(vit):
    found, wanted = reversible_and_stored(
        vit, arguments=DROPS, alpha=0.3, beta=0.7, arithmetic='float'
    )
    assert vit.relative_error(found, wanted) < 1e-4


@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7), (0, 1)])
@pytest.mark.parametrize('depth', [3, 24])
def test_exact_gradients_are_close_to_those_of_float64(vit, depth, alpha, beta):
    # The reference is the equations on mmaction's blocks, without fixed-point numbers.
    arguments = dict(depth=depth, init_values=0.5)
    model = vit.build(**arguments, dual_residual=dict(alpha=alpha, beta=beta))
    found = vit.step(model, model, vit.video())
    model.double()
    rounded = round(beta * 2**16) / 2**16
    reference = vit.step(
        lambda x: vit.by_hand(model, x, vit.family(alpha, rounded)),
        model,
        vit.video().double(),
    )
    assert vit.relative_error(found, reference) < 2e-4


@pytest.mark.parametrize('arguments', VARIANTS, ids=str)
def test_one_and_zero_is_mmactions_vit_in_float_arithmetic(vit, arguments):
    options = dict(alpha=1, beta=0, arithmetic='float', backprop='stored')
    model = vit.build(**arguments, dual_residual=options)
    plain = vit.plain(model, **arguments)
    found = vit.step(model, model, vit.video())
    wanted = vit.step(plain, plain, vit.video())
    torch.testing.assert_close(found.outputs, wanted.outputs, rtol=1e-5, atol=1e-5)
    assert_equal_gradients(found, wanted, 1e-5)


@pytest.mark.parametrize('size', [(6, 32, 32), (6, 40, 16), (7, 37, 50)], ids=str)
@pytest.mark.parametrize('arguments', VARIANTS, ids=str)
def test_beta_zero_trains_as_mmaction_does(vit, arguments, size):
    model = vit.build(**arguments, dual_residual=dict(alpha=1, beta=0))
    plain = vit.plain(model, **arguments)
    video = vit.video(*size)
    found, wanted = vit.step(model, model, video), vit.step(plain, plain, video)
    torch.testing.assert_close(found.outputs, wanted.outputs, rtol=1e-3, atol=1e-3)
    assert_equal_gradients(found, wanted, 1e-3)


def assert_equal_gradients(found, wanted, tolerance):
    """The same parameters have gradients, whose difference is relatively small."""
    assert found.gradients.keys() == wanted.gradients.keys()
    difference = reference = 0.0
    for name, gradient in wanted.gradients.items():
        assert (gradient is None) == (found.gradients[name] is None), name
        if gradient is not None:
            difference += float((found.gradients[name] - gradient).square().sum())
            reference += float(gradient.square().sum())
    assert (difference / reference) ** 0.5 < tolerance
