"""MTTR under DistributedDataParallel."""

import torch
from mmengine.model import MMDistributedDataParallel

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
