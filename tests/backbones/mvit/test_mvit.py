"""``Dr2MViT`` is mmaction's ``MViT`` at (1, 0), and reverses what keeps its shape."""

import copy

import pytest
import torch

mvit = pytest.importorskip('mmaction.models.backbones.mvit')

from dr2net_mm.analysis.memory.command import backbone_memory  # noqa: E402
from dr2net_mm.analysis.subjects.backbones import named_backbone  # noqa: E402
from dr2net_mm.backbones import Dr2MViT  # noqa: E402

TINY = dict(
    arch=dict(embed_dims=8, num_layers=5, num_heads=1, downscale_indices=[1, 3]),
    spatial_size=32,
    temporal_size=4,
)
VARIANTS = {
    'last scale': {},
    'all scales': dict(out_scales=[0, 1, 2]),
    'widths change in the MLP': dict(dim_mul_in_attention=False, out_scales=[0, -1]),
    'no class token': dict(
        with_cls_token=False, output_cls_token=False, out_scales=[0, 2]
    ),
    'absolute positions': dict(output_cls_token=False, use_abs_pos_embed=True),
    'no residual pooling': dict(residual_pooling=False),
}


def arguments(name):
    return copy.deepcopy({**TINY, **VARIANTS[name]})


def ours(rev, name, drop_path_rate=0.0, **options):
    model = Dr2MViT(
        **arguments(name), drop_path_rate=drop_path_rate, dual_residual=options
    )
    return rev.randomized(model)


@pytest.mark.parametrize('name', VARIANTS)
def test_one_and_zero_is_mmactions_network_bit_for_bit(rev, name):
    reference = rev.randomized(mvit.MViT(**arguments(name)), seed=3).eval()
    model = ours(rev, name, alpha=1, beta=0, arithmetic='float', backprop='stored')
    missing, unexpected = model.load_state_dict(reference.state_dict(), strict=False)
    assert not missing
    assert not unexpected
    x = rev.input('video_mvit')
    wanted = reference(x)
    # Gradients on: the stored pass, not the one that keeps nothing.
    found = model.eval()(x)
    assert type(found) is type(wanted)
    assert [type(f) for f in found] == [type(w) for w in wanted]
    for one, other in zip(rev.flat(found), rev.flat(wanted)):
        assert torch.equal(one, other)


def test_exact_arithmetic_is_near_mmactions_network(rev):
    reference = rev.randomized(mvit.MViT(**arguments('all scales'))).eval()
    model = ours(rev, 'all scales', alpha=1, beta=0).eval()
    x = rev.input('video_mvit')
    for one, other in zip(rev.flat(model(x)), rev.flat(reference(x))):
        assert (one - other).abs().max() < 2e-3


@pytest.mark.parametrize('amp', [False, True], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('memory_budget', [None, 0.5])
@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7), (0, 1)])
@pytest.mark.parametrize('name', ['all scales', 'widths change in the MLP'])
def test_exact_gradients_are_the_stored_ones_bit_for_bit(
    rev, name, alpha, beta, memory_budget, amp
):
    found = []
    for options in (dict(backprop='stored'), dict(memory_budget=memory_budget)):
        model = ours(rev, name, 0.3, alpha=alpha, beta=beta, **options)
        found.append(rev.gradients(model, rev.input('video_mvit'), amp))
    rev.assert_same(*found)


@pytest.mark.parametrize('name', VARIANTS)
def test_every_variant_has_the_stored_gradients(rev, name):
    found = []
    for backprop in ('stored', 'reversible'):
        model = ours(rev, name, 0.3, chunk=20, backprop=backprop)
        found.append(rev.gradients(model, rev.input('video_mvit', batch=3)))
    rev.assert_same(*found)


@pytest.mark.parametrize('name', VARIANTS)
def test_parts_of_a_sample_compute_what_mmaction_does(rev, name):
    reference = rev.randomized(mvit.MViT(**arguments(name)))
    options = dict(alpha=1, beta=0, arithmetic='float', backprop='stored')
    model = ours(rev, name, chunk=20, **options)
    wanted, found = (
        rev.gradients(one, rev.input('video_mvit')) for one in (reference, model)
    )
    for key, value in wanted.items():
        assert (found[key] - value).norm() < 1e-3 * value.norm() + 1e-5, key


def test_a_step_takes_less_than_checkpointed_blocks():
    checkpoint, dr2 = backbone_memory(
        named_backbone('mvit-t'), (16, 224, 224), 1, modes=('checkpoint', 'dr2')
    )
    assert dr2['peak_bytes'] < checkpoint['peak_bytes'] / 3


@pytest.mark.parametrize(
    ('arch', 'stages'),
    [('tiny', [1, 1, 4, 1]), ('small', [1, 1, 10, 1]), ('base', [2, 2, 15, 2])],
)
def test_blocks_that_keep_the_shape_are_reversible(arch, stages):
    with torch.device('meta'):
        model = Dr2MViT(arch)
    assert [len(run.blocks) for run in model._runs] == stages
    with torch.device('meta'):
        plain = mvit.MViT(arch)
    kept = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if not name.startswith('dual_residual.')
    }
    assert kept == {name: tuple(v.shape) for name, v in plain.state_dict().items()}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='huge'), "one of .*'tiny'.* got 'huge'"),
        (dict(out_scales=3), r'scales 0 to 2 .* got out_scales=\[3\]'),
        (dict(dual_residual=dict(fusion='concat')), "'last' or 'mean', got 'concat'"),
    ],
)
def test_unusable_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Dr2MViT(**{**TINY, **changes})


def test_images_are_refused(rev):
    with pytest.raises(ValueError, match=r'takes videos \[B, 3, T, H, W\], got shape'):
        ours(rev, 'last scale')(torch.zeros(2, 3, 32, 32))
