"""Parts in pieces under DistributedDataParallel, in whatever way it synchronises."""

import pytest
import torch
from mmdet.models.layers import DeformableDetrTransformerEncoder
from mmengine.model import BaseModel
from torch import nn

from dr2net_mm.memory.in_pieces import run_in_pieces
from dr2net_mm.memory.parts import preset_parts

WIDTH = 8
WRAPPERS = dict(
    default={},
    unused=dict(find_unused_parameters=True),
    static=dict(static_graph=True),
    views=dict(gradient_as_bucket_view=True, bucket_cap_mb=1e-4),
)


class Encoder(BaseModel):
    """The encoder of Deformable DETR, called twice, and a layer without use."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = DeformableDetrTransformerEncoder(
            num_layers=2,
            layer_cfg=dict(
                self_attn_cfg=dict(
                    embed_dims=WIDTH, num_heads=2, num_levels=1, dropout=0.0
                ),
                ffn_cfg=dict(embed_dims=WIDTH, feedforward_channels=16),
            ),
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0.1, 0.3)
        self.idle = nn.Linear(2, 2)

    def forward(self, inputs, mode='loss'):
        query = inputs
        for _ in range(2):
            query = self.encoder(
                query=query,
                query_pos=query * 0.5,
                key_padding_mask=None,
                spatial_shapes=torch.tensor([[2, 3]]),
                level_start_index=torch.tensor([0]),
                valid_ratios=query.new_ones(len(query), 1, 2),
            )
        return dict(loss=query.square().mean())


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_synchronised_gradients_are_those_of_the_joined_batch(ranks, wrapper):
    model, alone = Encoder(), Encoder()
    if wrapper not in ('unused', 'static'):
        model.idle.requires_grad_(False)
    run_in_pieces([part._replace(size=4) for part in preset_parts(model)])
    ddp = ranks.wrapped(model, **WRAPPERS[wrapper])
    for seed in range(3):
        torch.manual_seed(seed)
        batch = torch.randn(4, 6, WIDTH)
        mine = ranks.gradients(ddp, dict(inputs=batch[2 * ranks.rank :][:2]))
        wanted = ranks.gradients(alone, dict(inputs=batch))
        used = [name for name in wanted if not name.startswith('idle')]
        assert float(mine['encoder.layers.0.ffn.layers.1.weight'].abs().max()) > 1e-4
        ranks.assert_close({n: mine[n] for n in used}, {n: wanted[n] for n in used})
        ranks.assert_same_everywhere({n: mine[n] for n in used})
