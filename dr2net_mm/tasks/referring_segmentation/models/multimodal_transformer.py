"""DETR's transformer on the tokens of a frame and of a sentence together."""

from typing import Dict, NamedTuple

import torch
from mmdet.models.layers import SinePositionalEncoding
from mmdet.models.layers.transformer import (
    DetrTransformerDecoder,
    DetrTransformerEncoder,
)
from mmengine.model import BaseModule
from torch import Tensor, nn


class QueriesAndMemory(NamedTuple):
    """What the transformer returns for N frames.

    Attributes:
        queries: Object queries behind every decoder layer, [L, N, Q, C].
        memory: Encoded visual tokens as maps, [N, C, h, w].
    """

    queries: Tensor
    memory: Tensor


class MultimodalTransformer(BaseModule):
    """Encoder on h·w visual tokens and S text tokens, decoder with object queries.

    Visual tokens have sine positions, text tokens none. All layers are mmdet's.

    Args:
        embed_dims: Channels C.
        num_heads: Heads of every attention.
        feedforward_channels: Inner channels of the feed-forward networks.
        encoder_layers: Number of encoder layers.
        decoder_layers: Number L of decoder layers.
        dropout: Of attention weights, of what branches add, and within the
            feed-forward networks.

    Source: MTTR (CVPR 2022), Sec. 3; ``models/multimodal_transformer.py``.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        encoder_layers: int = 3,
        decoder_layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if embed_dims % 2 or embed_dims % num_heads:
            raise ValueError(
                f'embed_dims is {embed_dims} and num_heads {num_heads}; channels must '
                'be even, for positions, and a multiple of the heads.'
            )

        def attention() -> Dict:
            return dict(
                embed_dims=embed_dims,
                num_heads=num_heads,
                dropout=dropout,
                batch_first=True,
            )

        ffn = dict(
            embed_dims=embed_dims,
            feedforward_channels=feedforward_channels,
            num_fcs=2,
            ffn_drop=dropout,
            act_cfg=dict(type='ReLU', inplace=True),
        )
        self.encoder = DetrTransformerEncoder(
            encoder_layers, dict(self_attn_cfg=attention(), ffn_cfg=ffn)
        )
        self.decoder = DetrTransformerDecoder(
            decoder_layers,
            dict(self_attn_cfg=attention(), cross_attn_cfg=attention(), ffn_cfg=ffn),
            return_intermediate=True,
        )
        self.positions = SinePositionalEncoding(embed_dims // 2, normalize=True)

    def init_weights(self) -> None:
        """Set weights of two or more dimensions to Xavier-uniform ones."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        visual: Tensor,
        visual_padding: Tensor,
        text: Tensor,
        text_padding: Tensor,
        queries: Tensor,
    ) -> QueriesAndMemory:
        """Run encoder and decoder.

        Args:
            visual: Projected maps of N frames, [N, C, h, w].
            visual_padding: bool [N, h, w], True where a frame has ended.
            text: Projected tokens of each frame's sentence, [N, S, C].
            text_padding: bool [N, S], True where a sentence has ended.
            queries: Learned object queries, [Q, C].
        """
        frames, channels, height, width = visual.shape
        tokens = torch.cat([visual.flatten(2).transpose(1, 2), text], dim=1)
        padding = torch.cat([visual_padding.flatten(1), text_padding], dim=1)
        places = self.positions(visual_padding).flatten(2).transpose(1, 2)
        places = torch.cat([places.to(text.dtype), torch.zeros_like(text)], dim=1)
        memory = self.encoder(query=tokens, query_pos=places, key_padding_mask=padding)
        queries = queries.expand(frames, -1, -1)
        states = self.decoder(
            query=torch.zeros_like(queries),
            key=memory,
            value=memory,
            query_pos=queries,
            key_pos=places,
            key_padding_mask=padding,
        )
        maps = memory[:, : height * width].transpose(1, 2)
        return QueriesAndMemory(states, maps.reshape(frames, channels, height, width))
