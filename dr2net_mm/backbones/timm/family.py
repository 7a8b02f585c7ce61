"""How the models of a family run: the base class and the registry."""

import functools
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Type,
    TypeVar,
    Union,
)

from torch import Tensor, nn

from .program import Blocks, Feature, Layers, Program
from .sizes import Size, check_patches


class Family:
    """How a timm model of one class is run, as a :data:`~.program.Program`.

    Args:
        model: The timm model.
        output_norm: Whether the model's last norm is applied to the features.
        img_size: Size of images that the model was built for, where it was given.
    """

    #: Name of the list of blocks or stages, one for each feature map.
    container = 'blocks'
    #: Names of the modules whose output is a feature map's last layer.
    norms: Sequence[str] = ('norm',)
    #: Modules of the conventional model that are checkpointed block by block.
    block_lists: Sequence[str] = ('blocks',)

    def __init__(
        self,
        model: nn.Module,
        output_norm: bool,
        img_size: Union[None, int, Sequence[int]] = None,
    ) -> None:
        self.model = model
        self.output_norm = output_norm
        self.img_size = img_size

    def program(self, size: Size) -> Program:
        """Return the forward pass for images of a size (H, W)."""
        raise NotImplementedError

    def check_size(self, size: Size) -> None:
        """Check that the model takes images of a size (H, W).

        Raises:
            ValueError: If it does not, naming the argument that would allow it.
        """
        check_patches(self.model, size)

    def feature_count(self) -> int:
        """How many feature maps timm's model has."""
        return len(getattr(self.model, self.container))

    def default_indices(self) -> Sequence[int]:
        """Numbers of the feature maps that are returned where none are asked for."""
        return range(self.feature_count())

    def own_size(self) -> Size:
        """Size (H, W) of the images that the model is built for."""
        size = getattr(getattr(self.model, 'patch_embed', None), 'img_size', None)
        published = getattr(self.model, 'pretrained_cfg', None) or {}
        size = size or self.img_size or published.get('input_size', (3, 224, 224))[1:]
        return (size, size) if isinstance(size, int) else tuple(size)

    def stages(self) -> List[Sequence[nn.Module]]:
        """Modules of each feature map, for ``frozen_stages``."""
        return [[module] for module in getattr(self.model, self.container)]

    def output_norms(self) -> List[nn.Module]:
        """Modules behind the stages that features may pass."""
        found = [getattr(self.model, name, None) for name in self.norms]
        return [module for module in found if isinstance(module, nn.Module)]

    def checkpointed_blocks(self) -> List[str]:
        """Names of the lists whose blocks conventional training checkpoints."""
        names = [name for name, _ in self.model.named_modules()]
        return [name for name in names if name.split('.')[-1] in self.block_lists]


FamilyClass = TypeVar('FamilyClass', bound=Type[Family])

#: Families by the exact class of a model: a subclass may have another forward.
FAMILIES: Dict[Type[nn.Module], Type[Family]] = {}


def register_family(
    *classes: Type[nn.Module],
) -> Callable[[FamilyClass], FamilyClass]:
    """Register the family of models of these classes, subclasses not included."""

    def register(family: FamilyClass) -> FamilyClass:
        for one in classes:
            FAMILIES[one] = family
        return family

    return register


class IsotropicFamily(Family):
    """Models of blocks of one width, with a feature map behind each.

    The stream is what timm hands to its blocks: tokens [B, N, C].
    """

    #: Tokens in front of those of the patches; None for the model's own number.
    prefix_tokens: Optional[int] = None

    def default_indices(self) -> Sequence[int]:
        """Return the indices of the features returned by default."""
        return [self.feature_count() - 1]

    def embed(self, x: Tensor, arguments: dict) -> Tensor:
        """Tokens [B, N, C] of images [B, 3, H, W].

        Args:
            x: The images.
            arguments: Filled with what the blocks get beside the stream.
        """
        raise NotImplementedError

    def grid(self, size: Size) -> Size:
        """Rows and columns of patches of an image."""
        return self.model.patch_embed.dynamic_feat_size(size)

    def block_arguments(self, index: int, grid: Size, arguments: dict) -> dict:
        """Arguments of a block, from those that the embedding filled in."""
        return arguments

    def program(self, size: Size) -> Program:
        """Embedding and blocks, a feature behind each block."""
        model = self.model
        arguments: Dict[str, Any] = {}
        width = model.embed_dim
        items: Program = [Layers(lambda x: self.embed(x, arguments))]
        grid = self.grid(size)
        norms = self.output_norms() if self.output_norm else []
        for i, block in enumerate(model.blocks):
            items += [
                Blocks([block], width, self.block_arguments(i, grid, arguments)),
                Feature(i, lambda x: self.feature_map(x, grid, norms), norms),
            ]
        return items

    def feature_map(self, x: Tensor, grid: Size, norms: Sequence[nn.Module]) -> Tensor:
        """Feature map [B, C, H, W] of tokens, without prefix tokens."""
        for norm in norms:
            x = norm(x)
        prefix = self.prefix_tokens
        if prefix is None:
            prefix = getattr(self.model, 'num_prefix_tokens', 0)
        x = x[:, prefix:]
        return x.reshape(x.shape[0], *grid, -1).permute(0, 3, 1, 2).contiguous()


class HierarchicalFamily(Family):
    """Models of stages, with a feature map behind each.

    The stream of a stage is what timm hands to its blocks. A subclass says how it comes
    about and how a feature map is made of it.
    """

    container = 'stages'
    #: Number of feature maps before the first stage.
    first_feature = 0
    #: Whether streams are [B, H, W, C] though the model's layers take [B, C, H, W].
    channels_last = False

    def feature_count(self) -> int:
        """Return the number of feature maps."""
        return super().feature_count() + self.first_feature

    def default_indices(self) -> Sequence[int]:
        """Return the indices of the features returned by default."""
        return range(self.first_feature, self.feature_count())

    def embed(self, x: Tensor) -> Tensor:
        """Compute the input of the first stage from images [B, 3, H, W]."""
        return self.model.stem(x)

    def first_items(self) -> Program:
        """Layers and features before the first stage."""
        items: Program = [Layers(self._to_stream(self.embed))]
        if self.first_feature:
            items.append(Feature(0, _same))
        return items

    def before_blocks(self, stage: nn.Module) -> List[Layers]:
        """Ordinary layers of a stage before its blocks."""
        layer: Optional[nn.Module] = getattr(stage, 'downsample', None)
        if layer is None or isinstance(layer, nn.Identity):
            return []
        if self.channels_last:
            function = self._to_stream(functools.partial(_on_maps, layer))
            return [Layers(function, [layer])]
        return [Layers(layer, [layer])]

    def _to_stream(self, layer: Callable[[Tensor], Tensor]) -> Callable:
        """Return a layer whose maps become a stream."""
        if not self.channels_last:
            return layer
        return functools.partial(_in_channels_last, layer)

    def stage_items(self, stage: nn.Module, number: int) -> Program:
        """Layers and blocks of a stage."""
        width = self.model.feature_info[number + self.first_feature]['num_chs']
        blocks = Blocks(list(stage.blocks), width, {}, self.channels_last)
        return [*self.before_blocks(stage), blocks]

    def feature_map(self, x: Tensor) -> Tensor:
        """Feature map [B, C, H, W] of what the stage returns in timm."""
        return x

    def program(self, size: Size) -> Program:
        """Embedding and stages, a feature behind each stage."""
        items = self.first_items()
        stages = getattr(self.model, self.container)
        for number, stage in enumerate(stages):
            items += self.stage_items(stage, number)
            index = number + self.first_feature
            last = number == self.last_stage
            norms = self.output_norms() if self.output_norm and last else []
            items.append(
                Feature(index, functools.partial(self._normed_map, norms), norms)
            )
        return items

    @functools.cached_property
    def last_stage(self) -> int:
        """Number of the stage behind which the model has its norm."""
        return len(self.model.feature_info) - self.first_feature - 1

    def _normed_map(self, norms: Sequence[nn.Module], x: Tensor) -> Tensor:
        if self.channels_last:
            x = x.permute(0, 3, 1, 2)
        for norm in norms:
            x = norm(x)
        return self.feature_map(x)


def _on_maps(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.permute(0, 3, 1, 2))


def _in_channels_last(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return layer(x).permute(0, 2, 3, 1)


def _same(x: Tensor) -> Tensor:
    return x
