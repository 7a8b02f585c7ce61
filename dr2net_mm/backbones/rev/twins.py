"""Conventional twins of Rev-ViT and Rev-MViT, which memory is compared with."""

from typing import Any, Tuple

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.branches.attention import self_attention

from .layers import LayerNorm, drop_path_rates
from .mvit_blocks import RevMViTBlock, TransitionBlock, make_blocks
from .rev_mvit import RevMViT
from .rev_vit import RevVisionTransformer, RevViTBlock

Size = Tuple[int, ...]


class ConventionalViTBlock(RevViTBlock):
    """``z = x + Attention(LN(x))``, then ``z + MLP(LN(z))``."""

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, N, C]."""
        x = x + self.drop_path(self_attention(self.attn, self.ln1(x)))
        return x + self.drop_path(self.ffn.layers(self.ln2(x)))


class ConventionalMViTBlock(RevMViTBlock):
    """A residual block of one stream with pooling attention."""

    def forward(self, x: Tensor, size: Size) -> Tensor:
        """Tokens [B, N, C] on a grid of a size."""
        x = x + self.drop_path(self.attn(self.norm1(x), size)[0])
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ConventionalTransition(TransitionBlock):
    """A transition of one stream, which has nothing to fuse."""

    def forward(self, x: Tensor, size: Size, *unused: Any) -> Tensor:
        """Tokens [B, N', width] of tokens [B, N, C]."""
        return self.transform(x, size)


@MODELS.register_module(force=True)
class ConventionalVisionTransformer(BaseModule):
    """ViT of the blocks of :class:`.rev_vit.RevVisionTransformer` in one stream.

    The mean of its tokens [B, C] is returned. Its attention keeps no matrix of weights.

    Args:
        drop_path_rate: As in the reversible network.
        **kwargs: Arguments of the reversible network.
    """

    def __init__(self, drop_path_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__()
        own = RevVisionTransformer(**kwargs)
        self.patch_embed, self.pos_embed = own.patch_embed, own.pos_embed
        first = own.layers[0]
        self.layers = nn.ModuleList(
            ConventionalViTBlock(
                own.embed_dims,
                first.attn.num_heads,
                first.hidden,
                first.attn.qkv.bias is not None,
                rate,
            )
            for rate in drop_path_rates(drop_path_rate, len(own.layers))
        )
        self.norm = LayerNorm(own.embed_dims)

    def forward(self, x: Tensor) -> Tuple[Tensor]:
        """Features [B, C] of images of the size of the position embeddings."""
        x = self.patch_embed(x) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        return (self.norm(x).mean(1),)


@MODELS.register_module(force=True)
class ConventionalMViT(BaseModule):
    """MViT of the blocks of :class:`.rev_mvit.RevMViT` in one stream, for images.

    The mean of its tokens [B, C] is returned. Widths change in a ``res_proj``, as in
    the network for videos.

    Args:
        arch: As in the reversible network.
        drop_path_rate: As in the reversible network.
        **kwargs: Arguments of the reversible network.
    """

    def __init__(
        self, arch: str = 'image-base', drop_path_rate: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__()
        own = RevMViT(arch, **kwargs)
        self.patch_embed, self.pos_embed = own.patch_embed, own.pos_embed
        settings = dict(own.arch_settings, fuse='mean')
        self.blocks, widths = make_blocks(
            settings,
            drop_path_rates(drop_path_rate, len(own.blocks)),
            ConventionalMViTBlock,
            ConventionalTransition,
        )
        self.norm = LayerNorm(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C] of images of the size of the position embeddings."""
        size = (1, *self.patch_embed.grid(x.shape[2:]))
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x, size)
            size = block.attn.size_behind(size)
        return self.norm(x).mean(1)
