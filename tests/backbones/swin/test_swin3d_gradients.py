"""Gradients of ``Dr2SwinTransformer3D``: against stored ones, float64 and mmaction."""

import pytest
import torch

COEFFICIENTS = [(1, 0), (1, 0.1), (1, 0.01), (0.3, 0.7), (0, 1), (1, 1)]
DROPS = dict(drop_path_rate=0.3, drop_rate=0.1, attn_drop_rate=0.1)


def reversible_and_stored(tools, video, amp=False, arguments=None, **options):
    """One training step with each of the two backward passes."""
    steps = []
    for backprop in ('reversible', 'stored'):
        model = tools.build(
            **(arguments or {}), dual_residual=dict(options, backprop=backprop)
        ).train()

        def forward(x, model=model):
            with torch.autocast('cpu', dtype=torch.bfloat16, enabled=amp):
                return model(x)

        steps.append(tools.step(forward, model, video))
    return steps


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('alpha, beta', COEFFICIENTS)
def test_exact_arithmetic_has_the_stored_gradients_bit_for_bit(
    video_swin, alpha, beta, amp
):
    found, wanted = reversible_and_stored(
        video_swin,
        video_swin.video(batch=2),
        amp=amp,
        arguments=DROPS,
        alpha=alpha,
        beta=beta,
    )
    video_swin.assert_bitwise_equal(found, wanted)
    assert found.gradients['image'].any()
    assert all(torch.isfinite(g).all() for g in found.gradients.values())


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
def test_the_depth_of_video_swin_l_is_exact_where_the_paper_starts(video_swin, amp):
    found, wanted = reversible_and_stored(
        video_swin,
        video_swin.video(8, 32, 32),
        amp=amp,
        arguments=dict(depths=(2, 2, 18, 2)),
        alpha=1,
        beta=0.1,
    )
    video_swin.assert_bitwise_equal(found, wanted)


@pytest.mark.parametrize('chunk', [None, 'auto', 5, 36, 100, 10**6])
def test_gradients_are_the_stored_ones_in_pieces_of_any_size(video_swin, chunk):
    found, wanted = reversible_and_stored(
        video_swin, video_swin.video(batch=2), arguments=DROPS, chunk=chunk
    )
    video_swin.assert_bitwise_equal(found, wanted)


def test_pieces_of_windows_do_not_change_the_gradients(video_swin):
    video = video_swin.video(10, 44, 36, batch=2)
    steps = []
    for chunk in (None, 72):
        model = video_swin.build(dual_residual=dict(chunk=chunk)).double()
        steps.append(video_swin.step(model, model, video.double()))
    # A rounded number may fall on the next fixed-point step.
    assert video_swin.relative_error(*steps) < 1e-4


def test_float_arithmetic_has_close_gradients_where_it_is_stable(video_swin):
    found, wanted = reversible_and_stored(
        video_swin, video_swin.video(), alpha=0.3, beta=0.7, arithmetic='float'
    )
    assert video_swin.relative_error(found, wanted) < 1e-4


@pytest.mark.parametrize('memory_budget', [0, 0.4, 1.0])
def test_gradients_are_the_stored_ones_under_a_memory_budget(video_swin, memory_budget):
    video = video_swin.video(batch=2)
    steps = []
    for options in (dict(memory_budget=memory_budget), dict(backprop='stored')):
        model = video_swin.build(**DROPS, dual_residual=options)
        steps.append(video_swin.step(model, model, video))
    video_swin.assert_bitwise_equal(*steps)


@pytest.mark.parametrize('arguments', [{}, dict(out_after_downsample=True)], ids=str)
@pytest.mark.parametrize(
    'size',
    [(12, 36, 28), (5, 17, 9), (2, 4, 4), (16, 24, 24), (1, 40, 33)],
    ids=lambda size: 'x'.join(map(str, size)),
)
def test_beta_zero_trains_as_mmaction_does(video_swin, size, arguments):
    # Grids with padding, smaller than the window, and of whole windows.
    model = video_swin.build(**arguments, dual_residual=dict(alpha=1, beta=0))
    plain = video_swin.plain(model, **arguments)
    video = video_swin.video(*size)
    found = video_swin.step(model, model, video)
    wanted = video_swin.step(plain, plain, video)
    for one, other in zip(found.outputs, wanted.outputs):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert video_swin.relative_error(found, wanted) < 1e-3


@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7), (0, 1)])
def test_exact_gradients_are_close_to_those_of_float64(video_swin, alpha, beta):
    # The reference is the equations on mmaction's blocks, without fixed-point numbers.
    video = video_swin.video(11, 36, 44)
    model = video_swin.build(dual_residual=dict(alpha=alpha, beta=beta))
    found = video_swin.step(model, model, video)
    model.double()
    rounded = round(beta * 2**16) / 2**16
    reference = video_swin.step(
        lambda x: video_swin.by_hand(model, x, video_swin.family(alpha, rounded)),
        model,
        video.double(),
    )
    assert video_swin.relative_error(found, reference) < 2e-4
