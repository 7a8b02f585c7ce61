"""A timm model as it is, as a backbone: what a dual-residual one is compared with."""

from typing import Any, Tuple, Union

from mmengine.registry import MODELS
from torch import Tensor

from dr2net_mm.memory.activation_checkpoint import checkpoint_modules

from .features import TimmFeatures


@MODELS.register_module(force=True)
class ConventionalTimmBackbone(TimmFeatures):
    """The conventional twin of ``Dr2TimmBackbone``.

    The forward pass is timm's and the backward pass autograd's. Names, feature maps
    and arguments are the same.

    Args:
        model_name: timm's name, e.g. ``'vit_small_patch14_dinov2'``.
        with_cp: Whether to checkpoint each residual block: its input is kept, what is
            inside is computed again in the backward pass.
        **kwargs: Other arguments of :class:`.features.TimmFeatures`.

    Raises:
        TypeError: If the model has no argument of a name.
        ValueError: As :class:`.features.TimmFeatures`.
    """

    def __init__(
        self, model_name: str, *args: Any, with_cp: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(model_name, *args, **kwargs)
        if with_cp:
            checkpoint_modules(self, self.family.checkpointed_blocks())

    def forward(self, x: Tensor) -> Union[Tensor, Tuple[Tensor, ...]]:
        """Feature maps [B, C_i, H_i, W_i] of the ``out_indices``, in their order.

        Args:
            x: Images [B, 3, H, W].

        Raises:
            ValueError: If the model does not take images of this shape.
        """
        self.check_input(x)
        features = self.timm_model.forward_intermediates(
            x,
            indices=list(self.out_indices),
            norm=self.output_norm,
            output_fmt='NCHW',
            intermediates_only=True,
        )
        return self._returned(features)
