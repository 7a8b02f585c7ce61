"""Backbones under DistributedDataParallel, in whatever way it synchronizes."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import distributed

BACKBONES = ('swin', 'swin3d', 'vit')
OTHERS = ('rev_vit', 'rev_mvit', 'mvit', 'timm')

# 100 bytes a bucket: nearly every parameter is sent as soon as its gradient is there.
WRAPPERS = dict(
    default={},
    unused=dict(find_unused_parameters=True),
    static=dict(static_graph=True),
    views=dict(gradient_as_bucket_view=True),
    overlap=dict(bucket_cap_mb=1e-4),
)


@pytest.mark.parametrize(
    ('name', 'wrapper'),
    [
        *(('swin', wrapper) for wrapper in WRAPPERS),
        *(
            (name, wrapper)
            for name in BACKBONES[1:]
            for wrapper in ('default', 'static')
        ),
        *(
            (name, wrapper)
            for name in OTHERS
            for wrapper in ('default', 'unused', 'static')
        ),
    ],
)
def test_synchronized_gradients_are_those_of_the_joined_batch(ranks, name, wrapper):
    found = {}
    for backprop in ('reversible', 'stored'):
        model = ranks.build(name, dual_residual=dict(backprop=backprop))
        ddp = ranks.wrapped(model, **WRAPPERS[wrapper])
        alone = ranks.build(name, dual_residual=dict(backprop=backprop))
        # The first iteration is not like the others: DDP makes its buckets in it.
        for seed in range(2):
            batch = ranks.batch(name, seed)
            mine = ranks.gradients(ddp, ranks.part(name, seed))
            ranks.assert_close(mine, ranks.gradients(alone, batch))
            assert any(float(g.abs().max()) > 1e-3 for g in mine.values())
            ranks.assert_same_everywhere(mine)
            found[backprop, seed] = mine
    for seed in range(2):
        ranks.assert_same(found['reversible', seed], found['stored', seed])


@pytest.mark.parametrize(
    ('name', 'static'), [('swin', True), *((name, False) for name in BACKBONES)]
)
def test_parameters_that_the_loss_does_not_use_are_found(ranks, name, static):
    found = {}
    for backprop in ('reversible', 'stored'):
        options = dict(dual_residual=dict(backprop=backprop))
        model = ranks.build(name, unused=True, **options)
        ddp = ranks.wrapped(model, find_unused_parameters=True, static_graph=static)
        alone = ranks.build(name, unused=True, **options)
        for seed in range(2):
            batch = ranks.batch(name, seed)
            mine = ranks.gradients(ddp, ranks.part(name, seed))
            wanted = ranks.gradients(alone, batch)
            idle = {key for key, value in wanted.items() if value is None}
            assert {'idle.weight', 'idle.bias'} <= idle
            for key in idle:
                assert mine[key] is None or not mine[key].any()
            used = wanted.keys() - idle
            assert any(key.startswith('backbone.') for key in used)
            ranks.assert_close(
                {key: mine[key] for key in used}, {key: wanted[key] for key in used}
            )
            found[backprop, seed] = {key: mine[key] for key in used}
    for seed in range(2):
        ranks.assert_same(found['reversible', seed], found['stored', seed])


@pytest.mark.parametrize('unused', [False, True])
@pytest.mark.parametrize('frozen', range(-1, 3))
@pytest.mark.parametrize('name', ['swin', 'swin3d'])
def test_stages_may_be_frozen(ranks, name, frozen, unused):
    found = {}
    for backprop in ('reversible', 'stored'):
        options = dict(frozen_stages=frozen, dual_residual=dict(backprop=backprop))
        model = ranks.build(name, **options)
        ddp = ranks.wrapped(model, find_unused_parameters=unused).train()
        alone = ranks.build(name, **options)
        # DDP complains of a gradient that did not come in the next iteration only.
        for seed in range(3):
            mine = ranks.gradients(ddp, ranks.part(name, seed))
            ranks.assert_close(mine, ranks.gradients(alone, ranks.batch(name, seed)))
            found[backprop, seed] = mine
    for seed in range(3):
        mine = found['reversible', seed]
        ranks.assert_same(mine, found['stored', seed])
        for key, parameter in model.named_parameters():
            assert (mine[key] is not None) == parameter.requires_grad, key
        assert any(value is None for value in mine.values()) == (frozen >= 0)


@pytest.mark.parametrize('frozen', range(4))
def test_blocks_of_a_vit_may_be_frozen(ranks, frozen):
    found = []
    for backprop in ('reversible', 'stored'):
        model = ranks.build('vit', dual_residual=dict(backprop=backprop))
        model.backbone.patch_embed.requires_grad_(False)
        model.backbone.blocks[:frozen].requires_grad_(False)
        wanted = [ranks.gradients(model, ranks.batch('vit', seed)) for seed in (0, 1)]
        model.zero_grad(set_to_none=True)
        ddp = ranks.wrapped(model)
        for seed in (0, 1):
            found.append(ranks.gradients(ddp, ranks.part('vit', seed)))
            ranks.assert_close(found[-1], wanted[seed])
    for seed in (0, 1):
        ranks.assert_same(found[seed], found[2 + seed])


@pytest.mark.parametrize(
    ('name', 'wrapper'),
    [
        *((name, 'default') for name in BACKBONES),
        *(('swin', wrapper) for wrapper in WRAPPERS if wrapper != 'default'),
    ],
)
def test_gradients_are_accumulated_without_talking_in_between(ranks, name, wrapper):
    updated = []
    for backprop in ('reversible', 'stored'):
        options = dict(dual_residual=dict(backprop=backprop))
        ddp = ranks.wrapped(ranks.build(name, **options), **WRAPPERS[wrapper])
        alone = ranks.build(name, **options)
        for model, batch in ((ddp, ranks.part), (alone, ranks.batch)):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            # torch learns a static graph from a first batch that is synchronized.
            model.train_step(batch(name, 9), optim_wrapper=OptimWrapper(optimizer))
            optim_wrapper = OptimWrapper(optimizer, accumulative_counts=2)
            optim_wrapper.initialize_count_status(model, 0, 3)
            for seed in range(3):
                before = ranks.weights(model)['heads.0.bias']
                model.train_step(batch(name, seed), optim_wrapper=optim_wrapper)
                moved = not torch.equal(before, ranks.weights(model)['heads.0.bias'])
                # The third batch is the last one and has a step of its own.
                assert moved == (seed > 0)
                if model is ddp and not moved:
                    here, there = ranks.gathered(ranks.present_gradients(model))
                    assert any(not torch.equal(here[key], there[key]) for key in here)
        updated.append(ranks.weights(ddp))
        ranks.assert_close(updated[-1], ranks.weights(alone))
        ranks.assert_same_everywhere(updated[-1])
    ranks.assert_same(*updated)


@pytest.mark.parametrize('name', (*BACKBONES, *OTHERS))
def test_every_rank_drops_paths_of_its_own_and_replays_them(ranks, name):
    # Both ranks see the same samples: only the masks differ.
    data = {key: value[:2] for key, value in ranks.batch(name).items()}
    found = []
    for backprop in ('reversible', 'stored'):
        options = dict(drop_path_rate=0.5, dual_residual=dict(backprop=backprop))
        model = ranks.build(name, **options)
        torch.manual_seed(100 + ranks.rank)
        alone = ranks.gradients(model, data)
        model.zero_grad(set_to_none=True)
        ddp = ranks.wrapped(model)
        torch.manual_seed(100 + ranks.rank)
        found.append(ranks.gradients(ddp, data))
        here, there = ranks.gathered(alone)
        assert any(not torch.equal(here[key], there[key]) for key in here)
        mean = {key: (here[key] + there[key]) / 2 for key in here}
        ranks.assert_close(found[-1], mean)
    ranks.assert_same(*found)


def test_a_second_backward_pass_fails_on_every_rank_alike(ranks):
    from dr2net_mm.reversible import TapeError

    ddp = ranks.wrapped(ranks.build('swin'))
    loss = ddp(**ranks.part('swin'), mode='loss')['loss']
    loss.backward(retain_graph=True)
    with pytest.raises(TapeError, match='backward'):
        loss.backward()
    distributed.barrier()


def test_positions_of_point_clouds_get_the_gradients_of_the_joined_batch(ranks):
    """Branches of the encoder share an input, which the position MLP computes."""
    found = {}
    for backprop in ('reversible', 'stored'):
        model, inputs, samples = ranks.point_clouds(backprop)
        mine = slice(ranks.rank, ranks.rank + 1)
        part = dict(inputs=inputs[mine], data_samples=samples[mine])
        found[backprop] = ranks.gradients(ranks.wrapped(model), part)
        alone, inputs, samples = ranks.point_clouds(backprop)
        joined = ranks.gradients(alone, dict(inputs=inputs, data_samples=samples))
        ranks.assert_close(found[backprop], joined, 1e-3)
        ranks.assert_same_everywhere(found[backprop])
    ranks.assert_same(found['reversible'], found['stored'])
    assert found['reversible']['encoder.pos_embed.1.weight'].any()
