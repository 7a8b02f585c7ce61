"""Declaration of a dual-residual backbone, for analysis tools and exports."""

from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from dr2net_mm.reversible.plan import StageCost


class BackboneDeclaration:
    """Mixin of what tools need to know of a backbone, so that none keeps a list.

    A new backbone says in its own folder which conventional class it stands for
    (:attr:`plain_class`), what it takes (:meth:`example_size`) and what its stages cost
    (:meth:`input_costs`). Registered with ``@MODELS.register_module()``, it is then
    known to the tools and exports. Class methods take the arguments of the class or of
    the conventional one, as a config has them.
    """

    #: The conventional class, as a config names it: scope and class.
    plain_class: ClassVar[str]
    #: Lists of blocks that are checkpointed one by one in conventional training, where
    #: the conventional class has no ``with_cp``.
    checkpointed_lists: ClassVar[Tuple[str, ...]] = ()
    #: Frames of a video where none are asked for; None for a backbone of images.
    usual_frames: ClassVar[Optional[int]] = None
    #: Whether a network is built for one input size, which is that of its example.
    has_own_size: ClassVar[bool] = False

    @classmethod
    def plain_config(cls, config: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the config of the conventional twin: the same, without streams."""
        plain = {key: value for key, value in config.items() if key != 'dual_residual'}
        return dict(plain, type=cls.plain_class)

    @classmethod
    def depths(cls, config: Mapping[str, Any]) -> List[int]:
        """Return the number of blocks of each stage.

        Raises:
            ValueError: If the arguments do not say it.
        """
        if 'depth' in config:
            return [config['depth']]
        if 'depths' not in config:
            raise ValueError(f'{cls.__name__} does not say how many blocks it has')
        return list(config['depths'])

    @classmethod
    def with_depths(
        cls, config: Mapping[str, Any], depths: Sequence[int]
    ) -> Dict[str, Any]:
        """Return the arguments for other numbers of blocks.

        Args:
            config: The arguments.
            depths: Blocks of each stage.

        Raises:
            ValueError: If the number of blocks cannot be set.
        """
        if 'depth' in config:
            return dict(config, depth=depths[0])
        if 'depths' not in config:
            raise ValueError(f'the depths of {cls.__name__} cannot be set')
        return dict(config, depths=tuple(depths))

    @classmethod
    def with_frames(cls, config: Mapping[str, Any], frames: int) -> Dict[str, Any]:
        """Return the arguments for videos of a number of frames."""
        return dict(config)

    def example_size(self) -> Tuple[int, ...]:
        """Return the shape [C, H, W] or [C, T, H, W] of a small valid input."""
        raise NotImplementedError

    def example_input(self, batch: int = 1) -> Tensor:
        """Make a random input [B, *example_size], the same one each time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn((batch, *self.example_size()), generator=generator)

    def input_costs(
        self, shape: Sequence[int], branch_bytes: int = 4
    ) -> List[StageCost]:
        """Compute memory and work of each stage for inputs of a shape.

        Args:
            shape: Shape of the input, [B, C, H, W] or [B, C, T, H, W].
            branch_bytes: Bytes of a number within a branch, 2 under autocast.
        """
        raise NotImplementedError
