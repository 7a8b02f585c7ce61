"""Stand-ins for localizers and backbones of the end-to-end localizer."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import nn

LENGTH = 12


class FeatureProbe(BaseModel):
    """Stands for any localizer: a linear layer on features, kept for the test."""

    def __init__(self, in_channels=16, temporal_length=LENGTH, **kwargs):
        super().__init__()
        self.in_channels = in_channels
        self.temporal_length = temporal_length
        self.linear = nn.Conv1d(in_channels, 1, 1)
        self.batches = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        features = torch.stack(list(inputs))
        self.batches.append(features.detach())
        scores = self.linear(features)
        if mode == 'tensor':
            return scores
        if mode == 'loss':
            return dict(loss=scores.square().mean())
        # As mmaction's BMN: only the first video of a batch.
        return [dict(video_name=data_samples[0].video_name, proposal_list=[])]


class OtherMaps(nn.Module):
    """A backbone that returns what the test wants."""

    def __init__(self, shape, count=1):
        super().__init__()
        self.shape, self.count = shape, count

    def forward(self, x):
        outputs = tuple(torch.zeros(self.shape) for _ in range(self.count))
        return outputs[0] if self.count == 1 else outputs


class BatchNormBackbone(nn.Module):
    """A backbone with running statistics."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm3d(16)

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.fixture(autouse=True)
def probes():
    for module in (FeatureProbe, OtherMaps, BatchNormBackbone):
        MODELS.register_module(module=module, force=True)
    yield
    for name in ('FeatureProbe', 'OtherMaps', 'BatchNormBackbone'):
        MODELS.module_dict.pop(name)


@pytest.fixture
def build(localizing):
    def build(localizer=None, seed=0, **changes):
        torch.manual_seed(seed)
        localizer = localizer or dict(type='FeatureProbe')
        return MODELS.build(localizing.model(localizer, **changes))

    return build
