"""What the tests of the localizers share: videos, ground truth and tiny models."""

from typing import List, Optional, Sequence

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

SEGMENTS = ([[0.1, 0.45], [0.6, 0.9]], [[0.25, 0.75]], [[0.0, 1.0]])


class LocalizerTools:
    """Narrow backbones, and batches as mmaction's pack transforms make them."""

    frames = 16
    swin = dict(
        arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2]),
        window_size=(2, 2, 2),
        drop_path_rate=0.0,
        out_indices=(1,),
    )
    channels = 16

    def backbone(self, reversible: bool = False, **changes) -> dict:
        if not reversible:
            changes = dict(changes, pretrained2d=False)
        kind = 'Dr2SwinTransformer3D' if reversible else 'SwinTransformer3D'
        return dict(self.swin, type=kind, **changes)

    def model(self, localizer: dict, **changes) -> dict:
        return dict(
            dict(
                type='EndToEndLocalizer',
                backbone=self.backbone(),
                localizer=localizer,
                temporal_length=localizer.get('temporal_length', 12),
                data_preprocessor=dict(
                    type='ActionDataPreprocessor',
                    mean=[120.0, 115.0, 100.0],
                    std=[58.0, 57.0, 57.5],
                    format_shape='NCTHW',
                ),
            ),
            **changes,
        )

    def sample(
        self, name: str, segments: Sequence, labels: Optional[Sequence[int]] = None
    ) -> BaseDataElement:
        instances = InstanceData()
        # Pack transforms make float64 of the lists of an annotation file.
        instances['gt_bbox'] = torch.tensor(segments, dtype=torch.float64).view(-1, 2)
        if labels is not None:
            instances['gt_label'] = torch.tensor(labels, dtype=torch.long)
        element = BaseDataElement(gt_instances=instances)
        element.set_metainfo(
            dict(
                video_name=name,
                duration_second=8.0,
                duration_frame=self.frames,
                feature_frame=self.frames,
                annotations=[],
            )
        )
        return element

    def video(self, seed: int, frames: Optional[int] = None) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (1, 3, frames or self.frames, 16, 16)
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.int).byte()

    def batch(self, size: int = 2) -> dict:
        return dict(
            inputs=[self.video(seed) for seed in range(size)],
            data_samples=[
                self.sample(f'video_{i}', SEGMENTS[i % len(SEGMENTS)])
                for i in range(size)
            ],
        )

    def randomize(self, model: nn.Module, seed: int = 0) -> nn.Module:
        """Parameters that no symmetry makes easy; norms near the identity."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if parameter.dim() == 1:
                    parameter.copy_(0.1 * noise + name.endswith('weight'))
                else:
                    parameter.copy_(noise / parameter[0].numel() ** 0.5)
        return model

    def unused(self, model: nn.Module) -> List[str]:
        """Parameters that want a gradient and have none."""
        return [
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        ]


@pytest.fixture(scope='session')
def localizing() -> LocalizerTools:
    return LocalizerTools()


@pytest.fixture(autouse=True)
def mmaction_scope():
    """The default scope of mmaction's configs, and the one before afterwards."""
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield
