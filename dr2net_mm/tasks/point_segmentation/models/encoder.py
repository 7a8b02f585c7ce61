"""The encoder of Pix4Point: point embedding and a plain vision transformer."""

from functools import partial
from typing import List, Optional, Sequence, Tuple

import torch
import torch.utils.checkpoint as cp
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from .embedding import P3Embed
from .geometry import PointGeometry, point_geometry
from .layers import at_least_single
from .vit_weights import block_weights

#: Coordinates of a point, which its features begin with.
COORDINATES = 3

_NORM = partial(nn.LayerNorm, eps=1e-6)


@MODELS.register_module(force=True)
class PointViT(BaseModule):
    """Vision transformer on the tokens of a point cloud.

        x_0 = [CLS, P3Embed(p, f)],  e = [CLS position, MLP(p)]
        x_i = block_i(x_{i-1} + e),  tokens = norm(x_L)

    The positions are added in front of every block and stay in the residual stream.
    Blocks are timm's, so that any ViT of images of the same width starts it.

    Args:
        in_channels: Channels of a point, its coordinates the first three of them.
        embed_dims: Width of the blocks.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Width of the feed-forward layers over ``embed_dims``.
        drop_path_rate: Drop path of the last block; those before it have less.
        layer_scale: Initial value of LayerScale, None for a ViT without.
        widths: Channels behind each level of the embedding.
        ratios: By how many each level divides the number of points.
        neighbors: Points of a neighborhood.
        frozen_blocks: Whether the blocks and their norm keep their pretrained weights:
            in evaluation mode, without gradients of weights.
        with_cp: Whether blocks and embedding are checkpointed.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)``: file or address of a
            ViT's weights (timm's names; pth or safetensors), from which blocks, norm
            and CLS token are taken.

    Raises:
        ValueError: If there are not as many ratios as widths, the heads do not divide
            the width, or ``init_cfg`` is of another kind.

    Source: Pix4Point (3DV 2024), ``PointViT`` of openpoints.
    """

    def __init__(
        self,
        in_channels: int = 7,
        embed_dims: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        layer_scale: Optional[float] = None,
        widths: Sequence[int] = (192, 384),
        ratios: Sequence[int] = (4, 4),
        neighbors: int = 32,
        frozen_blocks: bool = False,
        with_cp: bool = False,
        init_cfg: Optional[dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        _check_arguments(in_channels, embed_dims, num_heads, widths, ratios)
        self.in_channels = in_channels
        self.ratios, self.neighbors = tuple(ratios), neighbors
        self.frozen_blocks, self.with_cp = frozen_blocks, with_cp
        self.pretrained = _checkpoint_of(init_cfg)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.patch_embed = P3Embed(in_channels, widths)
        self.proj = (
            nn.Identity()
            if widths[-1] == embed_dims
            else nn.Linear(widths[-1], embed_dims)
        )
        self.pos_embed = nn.Sequential(
            nn.Sequential(nn.Linear(COORDINATES, 128), nn.GELU()),
            nn.Linear(128, embed_dims),
        )
        rates = torch.linspace(0, drop_path_rate, depth).tolist()
        self.blocks = nn.ModuleList(
            Block(
                embed_dims,
                num_heads,
                mlp_ratio,
                qkv_bias=True,
                init_values=layer_scale,
                drop_path=rate,
                norm_layer=_NORM,  # type: ignore[arg-type]
            )
            for rate in rates
        )
        self.norm = _NORM(embed_dims)
        self._reset_parameters()
        if frozen_blocks:
            for module in self._frozen_modules():
                module.requires_grad_(False)

    def _reset_parameters(self) -> None:
        """Pix4Point's initialization; convolutions keep torch's."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.cls_pos, std=0.02)

    def init_weights(self) -> None:
        """Take blocks, norm and CLS token of the file, and say what was taken.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no ViT of this width and depth.
        """
        if self.pretrained is None:
            return
        taken, report = block_weights(self, self.pretrained)
        self.load_state_dict(taken, strict=False)
        print_log(report, 'current')

    def train(self, mode: bool = True) -> 'PointViT':
        """Set the mode of what trains; frozen blocks stay in evaluation mode."""
        super().train(mode)
        if self.frozen_blocks:
            for module in self._frozen_modules():
                module.eval()
        return self

    @property
    def recomputes(self) -> bool:
        """Whether layers outside the blocks are evaluated again in the backward pass.

        Decoder and head do as the embedding does.
        """
        return self.with_cp and torch.is_grad_enabled()

    @property
    def feature_widths(self) -> Tuple[int, ...]:
        """Channels of what :meth:`forward` returns."""
        widths = self.patch_embed.widths[:-1]
        return (self.in_channels, *widths, self.cls_token.shape[2])

    def geometry(self, points: Tensor) -> PointGeometry:
        """Nested clouds of points [B, N, in_channels] and their neighborhoods."""
        positions = at_least_single(points[..., :COORDINATES])
        return point_geometry(positions, self.ratios, self.neighbors)

    def forward(
        self, points: Tensor, geometry: Optional[PointGeometry] = None
    ) -> List[Tensor]:
        """Features of every level.

        Args:
            points: [B, N, in_channels], the coordinates first.
            geometry: Of :meth:`geometry`; computed where it is not given.

        Returns:
            The points themselves, the features of each level but the last
            [B, M, width], and the tokens behind the norm [B, 1 + M, embed_dims], the
            first of which is CLS.

        Raises:
            ValueError: If the points have another number of channels, or are too few.
        """
        if points.dim() != 3 or points.shape[2] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__} takes points [B, N, {self.in_channels}], got '
                f'{tuple(points.shape)}; set in_channels to what the pipeline packs.'
            )
        geometry = geometry or self.geometry(points)
        embedded = self.patch_embed(
            geometry.positions,
            points,
            geometry.levels,
            recompute=self.recomputes,
        )
        *features, tokens = embedded
        tokens = self.proj(tokens)
        positions = self.pos_embed(geometry.levels[-1].positions.to(tokens.dtype))
        batch = tokens.shape[0]
        x = torch.cat([self.cls_token.expand(batch, -1, -1), tokens], dim=1)
        e = torch.cat([self.cls_pos.expand(batch, -1, -1), positions], dim=1)
        return [points, *features, self._run_blocks(x, e)]

    def _run_blocks(self, x: Tensor, positions: Tensor) -> Tensor:
        """Tokens behind the norm, from tokens and positions [B, 1 + M, embed_dims]."""
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                x = cp.checkpoint(block, x + positions, use_reentrant=False)
            else:
                x = block(x + positions)
        return self.norm(x)

    def _frozen_modules(self) -> List[nn.Module]:
        return [self.blocks, self.norm]


def _checkpoint_of(init_cfg: Optional[dict]) -> Optional[str]:
    if not init_cfg:
        return None
    if init_cfg.get('type') != 'Pretrained' or not init_cfg.get('checkpoint'):
        raise ValueError(
            f'init_cfg of a point encoder is {dict(init_cfg)}; it takes '
            "dict(type='Pretrained', checkpoint=FILE) or None."
        )
    return str(init_cfg['checkpoint'])


def _check_arguments(
    in_channels: int,
    embed_dims: int,
    num_heads: int,
    widths: Sequence[int],
    ratios: Sequence[int],
) -> None:
    if in_channels < COORDINATES:
        raise ValueError(
            f'in_channels is {in_channels}; the first three channels of a point are '
            'its coordinates, so give 3 or more.'
        )
    if embed_dims % num_heads:
        raise ValueError(
            f'embed_dims={embed_dims} cannot be shared out among '
            f'num_heads={num_heads}; it must be a multiple of it.'
        )
    if len(widths) != len(ratios) or not widths:
        raise ValueError(
            f'widths={list(widths)} and ratios={list(ratios)} must have one value for '
            'each level of the embedding.'
        )
    if any(ratio < 1 for ratio in ratios):
        raise ValueError(f'ratios={list(ratios)} must be 1 or more.')
