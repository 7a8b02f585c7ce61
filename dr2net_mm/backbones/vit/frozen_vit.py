"""VideoMAE's Vision Transformer with blocks that do not train."""

from typing import Any, Iterator, Optional

from mmaction.models.backbones.vit_mae import VisionTransformer
from mmengine.registry import MODELS
from torch import nn

from dr2net_mm.backbones.base.arguments import check_frozen_stages
from dr2net_mm.backbones.base.pretrained import guarded_loading


@MODELS.register_module(force=True)
class FrozenVisionTransformer(VisionTransformer):
    """mmaction's ``VisionTransformer`` with a frozen embedding and frozen first blocks.

    Frozen parameters need no gradient from the start, so neither the optimizer nor
    DistributedDataParallel waits for one, no activation of a frozen block is kept for
    the backward pass, and its drop path is off. The norms behind the blocks train:
    finetuning starts them afresh.

    Args:
        frozen_stages: Number of blocks to freeze, with the embedding; all by default.
            0 freezes the embedding alone, -1 nothing.
        pretrained: Checkpoint that ``init_weights`` loads; mmaction's class takes this
            argument and forgets it.
        **kwargs: Arguments of mmaction's ``VisionTransformer``.

    Raises:
        ValueError: If there are fewer blocks than ``frozen_stages``.
    """

    def __init__(
        self,
        *args: Any,
        frozen_stages: Optional[int] = None,
        pretrained: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if pretrained:
            self.init_cfg = dict(type='Pretrained', checkpoint=pretrained)
        depth = len(self.blocks)
        self.frozen_stages = depth if frozen_stages is None else frozen_stages
        check_frozen_stages(self.frozen_stages, depth, 'blocks')
        if self.frozen_stages >= 0:
            # A buffer where positions are not learned.
            self.pos_embed.requires_grad_(False)
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def init_weights(self) -> None:
        """Set the weights: random ones, or those of a file, all of them.

        Raises:
            UserError: If the file does not give the backbone its weights.
        """
        with guarded_loading(self):
            super().init_weights()

    def train(self, mode: bool = True) -> 'FrozenVisionTransformer':
        """Set the mode of what trains; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def _frozen_modules(self) -> Iterator[nn.Module]:
        if self.frozen_stages >= 0:
            yield self.patch_embed
            yield self.pos_drop
            yield from self.blocks[: self.frozen_stages]
