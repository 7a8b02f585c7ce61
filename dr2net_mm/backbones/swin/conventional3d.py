"""mmaction's Video Swin as it is, with the arguments that a dual-residual one has."""

from typing import Any, Optional, Sequence, Tuple, Union

from mmaction.models.backbones.swin import SwinTransformer3D
from mmengine.registry import MODELS
from torch import Tensor

from dr2net_mm.backbones.base.pretrained import guarded_loading

from .output_norm import remove_output_norms


@MODELS.register_module(force=True)
class ConventionalSwinTransformer3D(SwinTransformer3D):
    """The conventional twin of ``Dr2SwinTransformer3D``.

    The forward pass is mmaction's and the backward pass autograd's; names and maps are
    the same.

    Args:
        output_norm: Whether each feature map passes a LayerNorm, as in mmaction.
        **kwargs: Arguments of mmaction's ``SwinTransformer3D``.
    """

    def __init__(self, *args: Any, output_norm: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not output_norm:
            remove_output_norms(self)

    def init_weights(self) -> None:
        """Set the weights: random ones, or those of a file, all of them.

        Raises:
            UserError: If the file does not give the backbone its weights.
        """
        with guarded_loading(self):
            super().init_weights()

    def forward(
        self, x: Tensor, frames: Optional[Sequence[int]] = None
    ) -> Union[Tensor, Tuple[Tensor, ...]]:
        """Feature maps [B, C_i, T_i, H_i, W_i] of the stages of ``out_indices``.

        Args:
            x: Videos [B, in_channels, T, H, W].
            frames: Numbers of the tubelets along time whose maps are returned, by
                default all.
        """
        outs = super().forward(x)
        if frames is None:
            return outs
        if isinstance(outs, Tensor):
            return outs[:, :, list(frames)]
        return tuple(out[:, :, list(frames)] for out in outs)

    def train(self, mode: bool = True) -> 'ConventionalSwinTransformer3D':
        """Set the mode and return the backbone, which mmaction's ``train`` forgets."""
        super().train(mode)
        return self
