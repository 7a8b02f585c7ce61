"""MLP-Mixer, ResMLP and gMLP."""

from typing import List, Sequence

from timm.models.mlp_mixer import MixerBlock, MlpMixer, ResBlock, SpatialGatingBlock
from torch import Tensor, nn

from dr2net_mm.backbones.branches.layers import LayersBranch
from dr2net_mm.reversible import Branch

from ..blocks import Chunk, register_block
from ..family import IsotropicFamily, register_family
from ..sizes import Size, check_patches


@register_family(MlpMixer)
class MixerFamily(IsotropicFamily):
    """timm's ``MlpMixer``."""

    def embed(self, x: Tensor, arguments: dict) -> Tensor:
        """Compute the stream from images, before the blocks."""
        return self.model.stem(x)

    def grid(self, size: Size) -> Size:
        """Return the grid of the stream for images of a size."""
        return self.model.stem.dynamic_feat_size(size)

    def own_size(self) -> Size:
        """Return the height and width that the model is built for."""
        return tuple(self.model.stem.img_size)

    def check_size(self, size: Size) -> None:
        """Refuse a size that the model cannot take."""
        check_patches(self.model, size, self.model.stem)


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


@register_block(MixerBlock)
def mixer_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp(mlp_tokens(norm1(x)ᵀ)ᵀ) and dp(mlp_channels(norm2 x))."""
    mixing = (block.norm1, _transposed, block.mlp_tokens, _transposed)
    return [
        LayersBranch(mixing, block.drop_path, chunk, shape[1:]),
        LayersBranch((block.norm2, block.mlp_channels), block.drop_path, chunk),
    ]


@register_block(ResBlock)
def resmlp_branches(
    block: nn.Module, shape: Sequence[int], chunk: Chunk
) -> List[Branch]:
    """Branches dp(ls1·linear_tokens(norm1(x)ᵀ)ᵀ) and dp(ls2·mlp_channels(norm2 x))."""
    mixing = (block.norm1, _transposed, block.linear_tokens)
    return [
        LayersBranch(
            (*mixing, _transposed), block.drop_path, chunk, shape[1:], block.ls1
        ),
        LayersBranch(
            (block.norm2, block.mlp_channels), block.drop_path, chunk, gamma=block.ls2
        ),
    ]


@register_block(SpatialGatingBlock)
def gmlp_branches(block: nn.Module, shape: Sequence[int], chunk: Chunk) -> List[Branch]:
    """One branch dp(mlp_channels(norm x)), whose gate mixes tokens."""
    layers = (block.norm, block.mlp_channels)
    return [LayersBranch(layers, block.drop_path, chunk, shape[1:])]
