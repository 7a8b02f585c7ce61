"""The encoder of Pix4Point with a dual-residual transformer."""

from typing import Any, List, Optional, Sequence, Tuple

from mmengine.registry import MODELS
from torch import Tensor, nn

from dr2net_mm.backbones.base.arguments import checkpointing_refusal
from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.branches import FeedForwardBranch
from dr2net_mm.backbones.branches.positioned_attention import PositionedAttentionBranch
from dr2net_mm.reversible import AutocastState, Branch, StageCost, StageOutput
from dr2net_mm.reversible.plan import Plan

from .encoder import PointViT
from .geometry import fewest_points


@MODELS.register_module(force=True)
class Dr2PointViT(DualResidualBackbone, PointViT):
    """:class:`PointViT` whose blocks carry two residual streams.

    With tokens x_0, positions e, and attention and feed-forward of all blocks as the
    branches F_1 … F_N in turn,

        x_i = F_i(x_{i-1} + e) + α·(x_{i-1} + e) + y_{i-1}   (attention)
        x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1}              (feed-forward)
        y_i = β·x_{i-1},  y_0 = β·x_0

    and the norm sees x_N: at (1, 0) this is :class:`PointViT`. Position MLP, CLS token
    and CLS position get their gradients from every block (the authors' code leaves
    them out). The embedding is recomputed in the backward pass too.

    Args:
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions`, e.g.
            ``dict(alpha=1.0, beta=0.1, arithmetic='exact')``.
        average_last_two: Whether the norm sees (x_N + x_{N-1}) / 2, as in the authors'
            code, which is the pretrained network at no (α, β).
        **kwargs: Arguments of :class:`PointViT`.

    Raises:
        ValueError: If an option is unknown or out of range, or for ``with_cp``.

    Source: Dr2Net (CVPR 2024), Eq. 1 and Table 3; ``InvPointViT`` of the authors.
    """

    plain_class = 'PointViT'

    def __init__(
        self,
        *args: Any,
        dual_residual: Optional[dict] = None,
        average_last_two: bool = False,
        with_cp: bool = False,
        **kwargs: Any,
    ) -> None:
        if with_cp:
            raise ValueError(checkpointing_refusal(type(self).__name__))
        super().__init__(*args, **kwargs)
        self.average_last_two = average_last_two
        self._init_dual_residual(dual_residual, 1, ('last', 'mean'))

    def init_weights(self) -> None:
        """Set the weights, without the guard of other backbones."""
        # A ViT of images does not give the embedding its weights, which the guard of
        # other backbones asks for.
        PointViT.init_weights(self)

    def example_size(self) -> Tuple[int, ...]:
        """Shape [N, in_channels] of a small cloud."""
        return (fewest_points(self.ratios, self.neighbors), self.in_channels)

    def _run_blocks(self, x: Tensor, positions: Tensor) -> Tensor:
        branches = self._branches(x.shape[1], positions)
        plan = self._plan(x)
        if not self.average_last_two:
            (tokens,) = self._run_stage(
                0, x, branches, lambda fused: (self.norm(fused),), [self.norm], plan
            )
            return tokens
        taps = {len(branches) - 1: StageOutput('last')}
        before, last = self._run_stage(
            0, x, branches, lambda fused: (fused,), [], plan, taps
        )
        return self.norm((before + last) * 0.5)

    def input_costs(
        self, shape: Sequence[int], branch_bytes: int = 4
    ) -> List[StageCost]:
        """Memory and work of the blocks for clouds [B, N, in_channels]."""
        tokens = shape[1]
        for ratio in self.ratios:
            tokens //= ratio
        return self._stage_costs(shape[0], 1 + tokens, branch_bytes)

    def _stage_costs(
        self, batch: int, tokens: int, branch_bytes: int
    ) -> List[StageCost]:
        channels = self.cls_token.shape[2]
        positions = self.cls_pos.new_empty(0)
        branches = self._branches(tokens, positions)
        steps = self._step_costs(branches, batch * tokens, channels, branch_bytes)
        stream = 4 * batch * tokens * channels
        return [
            StageCost(
                stream,
                outputs=stream,
                steps=steps,
                # The tokens, their gradient, and what the norm makes of them.
                finish=3 * stream,
                between=stream,
            )
        ]

    def _plan(self, x: Tensor) -> Optional[Plan]:
        """Which branches are stored, see ``memory_budget``."""
        if self.dual_residual_options.memory_budget is None:
            return None
        batch, tokens, _ = x.shape
        branch_bytes = 2 if AutocastState(x.device).enabled() else 4
        return self._storage_plan(
            (batch, tokens, branch_bytes),
            lambda: self._stage_costs(batch, tokens, branch_bytes),
        )

    def _branches(self, tokens: int, positions: Tensor) -> List[Branch]:
        chunk = self.dual_residual_options.chunk
        branches: List[Branch] = []
        for block in self.blocks:
            branches += [
                PositionedAttentionBranch(
                    block.norm1,
                    block.attn,
                    block.drop_path1,
                    tokens,
                    chunk,
                    positions,
                    self.alpha,
                    _gamma(block.ls1),
                ),
                FeedForwardBranch(
                    block.norm2,
                    (block.mlp,),
                    block.mlp.fc1.out_features,
                    block.drop_path2,
                    chunk,
                    _gamma(block.ls2),
                ),
            ]
        return branches


def _gamma(layer_scale: nn.Module) -> Optional[nn.Parameter]:
    """Factor of timm's LayerScale; None of an identity."""
    return getattr(layer_scale, 'gamma', None)
