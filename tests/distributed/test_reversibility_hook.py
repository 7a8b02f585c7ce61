"""``ReversibilityHook`` in two processes."""

from typing import Any
from unittest import mock

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from dr2net_mm.engine.hooks import reversibility_hook
from dr2net_mm.reversible import ReconstructionError


class Samples(torch.utils.data.Dataset):
    """Twelve samples, as a list of which a Runner makes batches."""

    def __init__(self, ranks: Any) -> None:
        self.batches = [ranks.batch('swin', seed) for seed in range(3)]

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict:
        batch = self.batches[index // 4]
        return {key: value[index % 4] for key, value in batch.items()}


class Losses(Hook):
    """Notes the loss of each iteration."""

    def __init__(self) -> None:
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append(outputs['loss'].detach().clone())


def train(ranks: Any, name: str, *hooks: Any, **options: Any) -> Runner:
    """One epoch of three iterations, with drop path."""
    with torch.random.fork_rng():
        runner = Runner(
            ranks.build('swin', drop_path_rate=0.3, dual_residual=options),
            str(ranks.folder / name),
            train_dataloader=dict(
                dataset=Samples(ranks),
                sampler=dict(type='DefaultSampler', shuffle=True),
                batch_size=2,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2)),
            custom_hooks=list(hooks),
            cfg=dict(
                model_wrapper_cfg=dict(
                    type='MMDistributedDataParallel', device_ids=None
                )
            ),
            launcher='pytorch',
            experiment_name=f'{ranks.folder.name}_{name}',
            randomness=dict(seed=0, diff_rank_seed=True),
            log_level='ERROR',
        )
        runner.train()
    return runner


FLOAT = dict(arithmetic='float')


@pytest.mark.parametrize('options', [{}, FLOAT], ids=['exact', 'float'])
def test_training_goes_on_as_without_it(ranks, options):
    results = []
    for hooks in ([], [dict(type='ReversibilityHook', interval=2)]):
        losses = Losses()
        runner = train(ranks, f'{len(hooks)}', losses, *hooks, **options)
        results.append((ranks.weights(runner.model), losses.seen))
    (weights, seen), (weights_too, seen_too) = results
    ranks.assert_same(weights, weights_too)
    ranks.assert_same_everywhere(weights)
    assert len(seen) == 3 and all(map(torch.equal, seen, seen_too))
    # Ranks see different samples, so that the same loss would be none of theirs.
    here, there = ranks.gathered(seen)
    assert not torch.equal(here[0], there[0])


def test_every_rank_knows_the_largest_error(ranks):
    found, measure = [], reversibility_hook.measure

    def noting(*arguments):
        found.append(measure(*arguments))
        return found[-1]

    hook = dict(type='ReversibilityHook', interval=10)
    with mock.patch.object(reversibility_hook, 'measure', noting):
        runner = train(ranks, 'float', hook, **FLOAT)
    scalars = runner.message_hub.log_scalars
    logged = scalars['train/dr2/gradient_error'].current()
    here, there = ranks.gathered(found[0].gradient)
    assert here != there
    assert logged == max(here, there) > 0
    errors = [max(f.reconstruction.values()) for f in ranks.gathered(found[0])]
    assert scalars['train/dr2/reconstruction_error'].current() == max(errors)


def test_all_ranks_stop_where_one_exceeds_the_bound(ranks):
    measure = reversibility_hook.measure

    def spoilt(*arguments):
        found = measure(*arguments)
        return found._replace(gradient=float('nan')) if ranks.rank else found

    hook = dict(type='ReversibilityHook', interval=10, stop_above=0.1)
    with mock.patch.object(reversibility_hook, 'measure', spoilt):
        with pytest.raises(ReconstructionError, match='gradients are off by inf'):
            train(ranks, 'stopped', hook)
    assert ranks.gathered('both are here') == ['both are here'] * 2


def test_a_rank_without_gradients_takes_part_all_the_same(ranks):
    taken = reversibility_hook.SampleTaker.taken

    def only_on_rank_zero(taker):
        return None if ranks.rank else taken(taker)

    hook = dict(type='ReversibilityHook', interval=10)
    with mock.patch.object(reversibility_hook.SampleTaker, 'taken', only_on_rank_zero):
        runner = train(ranks, 'one', hook, **FLOAT)
    logged = runner.message_hub.log_scalars['train/dr2/gradient_error'].current()
    assert ranks.gathered(logged) == [logged] * 2
    assert logged > 0
