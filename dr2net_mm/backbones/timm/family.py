"""How the models of a family run: the base class and the registry."""

from typing import Callable, Dict, List, Sequence, Tuple, Type, TypeVar

from torch import Tensor, nn

from .program import Blocks, Feature, Layers, Program

Size = Tuple[int, int]


class Family:
    """How a timm model of one class is run, as a :data:`~.program.Program`.

    Args:
        model: The timm model.
        output_norm: Whether the model's last norm is applied to the features.
    """

    #: Name of the list of blocks or stages, one for each feature map.
    container = 'blocks'
    #: Names of the modules whose output is a feature map's last layer.
    norms: Sequence[str] = ('norm',)
    #: Modules of the conventional model that are checkpointed block by block.
    block_lists: Sequence[str] = ('blocks',)

    def __init__(self, model: nn.Module, output_norm: bool) -> None:
        self.model = model
        self.output_norm = output_norm

    def program(self, size: Size) -> Program:
        """The forward pass for images of a size (H, W)."""
        raise NotImplementedError

    def check_size(self, size: Size) -> None:
        """Check that the model takes images of a size (H, W).

        Raises:
            ValueError: If it does not, naming the argument that would allow it.
        """
        check_patches(self.model, size)

    @property
    def isotropic(self) -> bool:
        """Whether there is a feature map behind each block, all of one size."""
        return False

    def feature_count(self) -> int:
        """How many feature maps timm's model has."""
        return len(getattr(self.model, self.container))

    def own_size(self) -> Size:
        """Size (H, W) of the images that the model is built for."""
        size = getattr(getattr(self.model, 'patch_embed', None), 'img_size', None)
        if size is None:
            size = self.model.pretrained_cfg['input_size'][-2:]
        return tuple(size)

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

    @property
    def isotropic(self) -> bool:
        return True

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
        model, arguments = self.model, {}
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
        x = x[:, getattr(self.model, 'num_prefix_tokens', 0) :]
        return x.reshape(x.shape[0], *grid, -1).permute(0, 3, 1, 2).contiguous()


def check_patches(model: nn.Module, size: Size) -> None:
    """Check a size of images against that of a timm ``PatchEmbed``.

    Raises:
        ValueError: If the patches do not fit it.
    """
    patches = getattr(model, 'patch_embed', None)
    own = getattr(patches, 'img_size', None)
    step = getattr(patches, 'patch_size', None)
    if own is None or step is None:
        return
    name = type(model).__name__
    if getattr(patches, 'strict_img_size', False) and tuple(size) != tuple(own):
        raise ValueError(
            f'{name} is built for images of {own[0]}x{own[1]}, got '
            f'{size[0]}x{size[1]}: {remedy(model, size)}'
        )
    padded = getattr(patches, 'dynamic_img_pad', False)
    if not padded and any(length % part for length, part in zip(size, step)):
        raise ValueError(
            f'{name} cuts images into patches of {step[0]}x{step[1]}, got '
            f'{size[0]}x{size[1]}; resize or pad them to a multiple'
            + (
                ', or pass dynamic_img_pad=True.'
                if hasattr(model, 'dynamic_img_size')
                else '.'
            )
        )


def remedy(model: nn.Module, size: Size) -> str:
    """Which argument of a model lets it take images of another size."""
    other = f'img_size=({size[0]}, {size[1]})'
    if hasattr(model, 'dynamic_img_size'):
        return f'pass dynamic_img_size=True, or {other}.'
    if hasattr(model.patch_embed, 'set_input_size') and hasattr(
        model, 'set_input_size'
    ):
        return f'pass strict_img_size=False, or {other}.'
    return f'pass {other}, or resize them.'
