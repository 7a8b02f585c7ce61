"""A tiny MTTR and windows of random frames with instances."""

from typing import Any, List, Optional

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData

pytest.importorskip('transformers')

SENTENCES = ('the dog on the left', 'a bird')


def mttr_config(**changes: Any) -> dict:
    """An MTTR of three stages of one block, with five queries."""
    config = dict(
        type='MTTR',
        backbone=dict(
            type='Dr2SwinTransformer3D',
            arch=dict(embed_dims=24, depths=(1, 1, 2), num_heads=(1, 2, 4)),
            patch_size=(1, 4, 4),
            window_size=(2, 4, 4),
            out_indices=(0, 1, 2),
            output_norm=False,
            drop_path_rate=0.2,
        ),
        text_encoder=dict(
            type='RobertaTextEncoder',
            config=dict(
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=34,
            ),
        ),
        backbone_channels=(24, 48, 96),
        embed_dims=64,
        num_queries=5,
        transformer=dict(
            num_heads=4, feedforward_channels=48, encoder_layers=1, decoder_layers=2
        ),
    )
    return {**config, **changes}


class MTTRTools:
    """What the tests of this folder share."""

    config = staticmethod(mttr_config)

    def build(self, seed: int = 0, **changes: Any) -> torch.nn.Module:
        torch.manual_seed(seed)
        return MODELS.build(mttr_config(**changes))

    def sample(
        self,
        size: tuple = (33, 40),
        frames: Optional[List[int]] = None,
        instances: int = 3,
        referred: int = 1,
        seed: int = 0,
    ) -> BaseDataElement:
        """A sample whose instances are random rectangles."""
        generator = torch.Generator().manual_seed(seed)
        frames = [2] if frames is None else frames
        masks = torch.zeros(instances, len(frames), *size, dtype=torch.bool)
        for mask in masks.flatten(0, 1):
            top, left = (
                int(torch.randint(side - 8, (), generator=generator)) for side in size
            )
            mask[top : top + 8, left : left + 8] = True
        sample = BaseDataElement(
            metainfo=dict(
                text=SENTENCES[seed % 2],
                frames=frames,
                img_shape=size,
                ori_shape=(2 * size[0], 2 * size[1]),
            )
        )
        sample.gt_instances = InstanceData(
            masks=masks, referred=torch.arange(instances) == referred
        )
        return sample

    def batch(self, model: Any, frames: Optional[List[int]] = None) -> dict:
        """Two windows of four frames of different size, normalized and padded."""
        generator = torch.Generator().manual_seed(0)
        sizes = ((33, 40), (40, 32))
        windows = [
            torch.randint(256, (4, 3, *size), generator=generator, dtype=torch.uint8)
            for size in sizes
        ]
        samples = [
            self.sample(size, frames, seed=number) for number, size in enumerate(sizes)
        ]
        return model.data_preprocessor(dict(inputs=windows, data_samples=samples))


@pytest.fixture(scope='session')
def mttr() -> MTTRTools:
    return MTTRTools()
