"""Gradients of Rev-ViT and Rev-MViT, and the random numbers that they draw."""

import pytest
import torch

NAMES = ['vit', 'image_mvit', 'video_mvit']
MEMBERS = [(0, 1), (1, 0.1), (0.3, 0.7)]


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('memory_budget', [None, 0.5])
@pytest.mark.parametrize('alpha, beta', MEMBERS)
@pytest.mark.parametrize('name', NAMES)
def test_exact_gradients_are_the_stored_ones_bit_for_bit(
    rev, name, alpha, beta, memory_budget, amp
):
    found = []
    for options in (dict(backprop='stored'), dict(memory_budget=memory_budget)):
        options = dict(options, alpha=alpha, beta=beta)
        model = rev.build(name, drop_path_rate=0.3, dual_residual=options)
        found.append(rev.gradients(model, rev.input(name), amp))
    rev.assert_same(*found)


@pytest.mark.parametrize('name', NAMES)
def test_float_gradients_are_close_to_the_stored_ones(rev, name):
    found = []
    for backprop in ('stored', 'reversible'):
        options = dict(arithmetic='float', backprop=backprop)
        model = rev.build(name, drop_path_rate=0.3, dual_residual=options)
        found.append(rev.gradients(model, rev.input(name)))
    for key, value in found[0].items():
        assert (found[1][key] - value).norm() < 1e-4 * value.norm() + 1e-6, key


@pytest.mark.parametrize('name', NAMES)
def test_pieces_of_whole_samples_have_the_stored_gradients(rev, name):
    found = []
    for backprop in ('stored', 'reversible'):
        options = dict(chunk=20, backprop=backprop)
        model = rev.build(name, drop_path_rate=0.3, dual_residual=options)
        found.append(rev.gradients(model, rev.input(name, batch=3)))
    rev.assert_same(*found)


@pytest.mark.parametrize('chunk', [20, 100])
@pytest.mark.parametrize('name', NAMES)
def test_pieces_compute_what_the_whole_does(rev, name, chunk):
    # 20 tokens are less than a sample of the first scale, 100 are more.
    whole, cut = (
        rev.gradients(
            rev.build(name, dual_residual=dict(chunk=size)), rev.input(name, batch=3)
        )
        for size in (None, chunk)
    )
    for key, value in whole.items():
        assert (cut[key] - value).norm() < 1e-3 * value.norm() + 1e-5, key


@pytest.mark.parametrize('name', NAMES)
def test_generators_go_on_as_without_a_backward_pass(rev, name):
    model, x = rev.build(name, drop_path_rate=0.5), rev.input(name)
    state = torch.get_rng_state()
    model.eval()
    first = rev.flat(model(x))
    # Nothing is drawn in evaluation, and nothing dropped.
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, first, rev.flat(model(x))))
    model.train()
    outputs = rev.flat(model(x))
    drawn = torch.get_rng_state()
    assert not torch.equal(drawn, state)
    sum(output.sum() for output in outputs).backward()
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize('name', NAMES)
def test_seeds_of_the_user_decide_what_is_dropped(rev, name):
    model, x = rev.build(name, drop_path_rate=0.5).train(), rev.input(name, batch=8)
    results = []
    with torch.random.fork_rng():
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            results.append(rev.flat(model(x))[-1])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize('name', NAMES)
def test_the_member_travels_in_the_state_dict(rev, name):
    state = rev.build(name).state_dict()
    assert (state['dual_residual.alpha'], state['dual_residual.beta']) == (0, 1)
    pretrained = {k: v for k, v in state.items() if not k.startswith('dual_residual.')}
    missing, unexpected = rev.build(name).load_state_dict(pretrained, strict=False)
    assert not missing
    assert not unexpected
