"""MTTR and its metric in two processes."""

import torch
from mmengine.dataset import DefaultSampler
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import METRICS

from tests.fixtures.mttr import MTTRTools

SIZE = (32, 32)


def gradients(model, numbers, frames):
    """Gradients of the loss on some of two windows with 1 and 3 instances."""
    generator = torch.Generator().manual_seed(0)
    windows = torch.randint(256, (2, 4, 3, *SIZE), generator=generator).byte()
    samples = [
        MTTRTools().sample(SIZE, frames, instances, 0, instances)
        for instances in (1, 3)
    ]
    inner = model.module if isinstance(model, MMDistributedDataParallel) else model
    batch = inner.data_preprocessor(
        dict(
            inputs=[windows[n] for n in numbers],
            data_samples=[samples[n] for n in numbers],
        )
    )
    model.zero_grad()
    sum(model(**batch, mode='loss').values()).backward()
    return {
        name.replace('module.', ''): parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def test_gradients_are_those_of_the_joined_batch_with_unequal_instances(ranks):
    found = {}
    for backprop in ('reversible', 'stored'):
        config = MTTRTools.config()
        backbone = dict(
            config['backbone'],
            drop_path_rate=0.0,
            dual_residual=dict(backprop=backprop),
        )
        transformer = dict(config['transformer'], dropout=0.0)
        changes = dict(backbone=backbone, transformer=transformer)
        model = MTTRTools().build(**changes).train()
        alone = MTTRTools().build(**changes).train()
        ddp = MMDistributedDataParallel(model)
        for frames in ([2], [0, 1, 2, 3]):
            mine = gradients(ddp, [ranks.rank], frames)
            ranks.assert_close(mine, gradients(alone, [0, 1], frames))
            ranks.assert_same_everywhere(mine)
            found[backprop, len(frames)] = mine
    for frames in (1, 4):
        ranks.assert_same(found['reversible', frames], found['stored', frames])


def predicted(number):
    """Prediction of an image; half of them have the better score on a wrong mask."""
    truth = torch.zeros(1, 40, 50, dtype=torch.bool)
    truth[0, : 10 + number, :30] = True
    wrong = torch.zeros_like(truth)
    wrong[0, :5, 20:45] = True
    scores = [0.9 - 0.01 * number, 0.5]
    masks = [wrong, truth] if number % 2 else [truth, wrong]
    return dict(
        image_id=f'image {number}',
        truth=truth,
        pred_instances=dict(
            masks=torch.stack(masks), scores=torch.tensor(scores)[:, None]
        ),
    )


def test_samples_that_padding_gives_to_two_ranks_count_once(ranks):
    # Of five images the sampler gives the first one to both ranks.
    mine = list(DefaultSampler(range(5), shuffle=False))
    assert len(mine) == 3
    metric = METRICS.build(dict(type='ReferringSegmentationMetric'))
    metric.process({}, [predicted(number) for number in mine])
    # MMEngine cuts the list to the size that it is told; that alone would hide a
    # metric that counts twice.
    found = metric.evaluate(6)
    alone = METRICS.build(dict(type='ReferringSegmentationMetric'))
    alone.process({}, [predicted(number) for number in range(5)])
    wanted = alone.compute_metrics(alone.results)
    ranks.assert_same_everywhere(
        {name: torch.tensor(value) for name, value in found.items()}
    )
    assert found == {f'rvos/{name}': value for name, value in wanted.items()}
    assert found['rvos/P@0.9'] == 3 / 5
