"""Names and shapes of the tensors of mmaction's VideoMAE ``VisionTransformer``."""

from typing import Any, Dict, Mapping, NamedTuple, Tuple

import torch
from torch import Tensor

from dr2net_mm.errors import UserError

PATCH_WEIGHT = 'patch_embed.projection.weight'
FC_NORM = 'fc_norm'
NORM = 'norm'

Shape = Tuple[int, ...]


class VitLayout(NamedTuple):
    """Layout of a ``VisionTransformer`` as its weights show it.

    Attributes:
        embed_dims: Channels of a token.
        depth: Number of blocks.
        hidden: Channels within the feed-forward networks.
        in_channels: Channels of a frame.
        tubelet: Frames of a patch.
        patch: Height and width of a patch in pixels.
        qkv_bias: Whether queries and values have biases.
        layer_scale: Whether blocks have ``gamma_1`` and ``gamma_2``.
    """

    embed_dims: int
    depth: int
    hidden: int
    in_channels: int
    tubelet: int
    patch: int
    qkv_bias: bool
    layer_scale: bool

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> 'VitLayout':
        """Derive the layout from backbone weights by mmaction's names.

        Raises:
            UserError: if there are no blocks, or patches are not square.
        """
        embed_dims, in_channels, tubelet, height, width = weights[PATCH_WEIGHT].shape
        if height != width:
            raise UserError(
                f'patches of {height} x {width} pixels; mmaction has square ones only'
            )
        blocks = {
            int(name.split('.')[1])
            for name in weights
            if name.startswith('blocks.') and name.split('.')[1].isdigit()
        }
        hidden = weights.get('blocks.0.mlp.layers.0.0.weight')
        if not blocks or hidden is None:
            raise UserError(
                'the checkpoint has no block 0 with a feed-forward network of two '
                'layers (blocks.0.mlp.fc1); only plain vision transformers are '
                'converted'
            )
        return cls(
            embed_dims=embed_dims,
            depth=max(blocks) + 1,
            hidden=hidden.shape[0],
            in_channels=in_channels,
            tubelet=tubelet,
            patch=height,
            qkv_bias='blocks.0.attn.q_bias' in weights,
            layer_scale='blocks.0.gamma_1' in weights,
        )

    def positions(self, img_size: int, num_frames: int) -> Tuple[int, int]:
        """Return the token grid: positions in time, and along a side of a frame.

        Raises:
            UserError: if the clip does not hold one patch.
        """
        times, side = num_frames // self.tubelet, img_size // self.patch
        if times < 1 or side < 1:
            raise UserError(
                f'{num_frames} frames of {img_size} x {img_size} pixels do not hold a '
                f'patch of {self.tubelet} x {self.patch} x {self.patch}; give larger '
                'numbers of frames and pixels'
            )
        return times, side

    def shapes(self, positions: int, final_norm: str) -> Dict[str, Shape]:
        """Return the shape of every tensor, ``pos_embed`` included.

        Args:
            positions: Number of tokens of a clip.
            final_norm: ``'fc_norm'`` or ``'norm'``.
        """
        channels = self.embed_dims
        shapes: Dict[str, Shape] = {
            'pos_embed': (1, positions, channels),
            PATCH_WEIGHT: (
                channels,
                self.in_channels,
                self.tubelet,
                self.patch,
                self.patch,
            ),
            'patch_embed.projection.bias': (channels,),
            f'{final_norm}.weight': (channels,),
            f'{final_norm}.bias': (channels,),
        }
        block: Dict[str, Shape] = {
            'norm1.weight': (channels,),
            'norm1.bias': (channels,),
            'attn.qkv.weight': (3 * channels, channels),
            'attn.proj.weight': (channels, channels),
            'attn.proj.bias': (channels,),
            'norm2.weight': (channels,),
            'norm2.bias': (channels,),
            'mlp.layers.0.0.weight': (self.hidden, channels),
            'mlp.layers.0.0.bias': (self.hidden,),
            'mlp.layers.1.weight': (channels, self.hidden),
            'mlp.layers.1.bias': (channels,),
        }
        optional = ['attn.q_bias', 'attn.v_bias'] if self.qkv_bias else []
        optional += ['gamma_1', 'gamma_2'] if self.layer_scale else []
        block.update({name: (channels,) for name in optional})
        for i in range(self.depth):
            shapes.update({f'blocks.{i}.{name}': s for name, s in block.items()})
        return shapes

    def arguments(self) -> Dict[str, Any]:
        """Return the arguments of a ``VisionTransformer`` with these weights."""
        ratio = self.hidden / self.embed_dims
        arguments: Dict[str, Any] = dict(
            patch_size=self.patch,
            tubelet_size=self.tubelet,
            embed_dims=self.embed_dims,
            depth=self.depth,
            mlp_ratio=int(ratio) if ratio == int(ratio) else ratio,
            qkv_bias=self.qkv_bias,
        )
        if self.in_channels != 3:
            arguments['in_channels'] = self.in_channels
        if self.layer_scale:
            # Any value above 0 makes the parameters, which the weights then fill.
            arguments['init_values'] = 1e-5
        return arguments


def sincos_positions(positions: int, embed_dims: int) -> Tensor:
    r"""Compute the sine and cosine table [1, positions, embed_dims].

    .. math::
        e_{p, 2i} = \sin(p / 10000^{2i / C}), \quad
        e_{p, 2i+1} = \cos(p / 10000^{2i / C})

    Source: Attention Is All You Need, Sec. 3.5; mmaction keeps it in the state dict,
    the original VideoMAE does not.
    """
    channel = torch.arange(embed_dims, dtype=torch.float64)
    frequency = torch.pow(10000, -(channel - channel % 2) / embed_dims)
    angle = torch.arange(positions).view(-1, 1) * frequency
    table = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    return table.to(torch.float32).unsqueeze(0)
