"""Any supported timm model as a dual-residual backbone."""

from functools import partial
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.utils.checkpoint as cp
from mmengine.registry import MODELS
from torch import Tensor

from dr2net_mm.backbones.base.counted_costs import CountedCosts, padded_plan
from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.reversible import Branch, StageOutput
from dr2net_mm.reversible.plan import Plan

from .blocks import branches_of
from .features import TimmFeatures
from .model import OutIndices, batch_norms
from .program import (
    Blocks,
    Feature,
    Layers,
    Segment,
    modules_of,
    run_layers,
    segments,
)


@MODELS.register_module(force=True)
class Dr2TimmBackbone(CountedCosts, DualResidualBackbone, TimmFeatures):
    """A timm model whose residual blocks have two residual streams.

    With the input x_0 of a stage and the residual branches F_1 … F_N of its blocks,

        y_0 = β·x_0,  x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    feature maps are made of the x_i behind a block, as timm's ``forward_intermediates``
    makes them; the streams go on behind it. Embeddings and other layers between stages
    are timm's and are recomputed in the backward pass. State-dict keys are timm's.

    Args:
        model_name: timm's name, e.g. ``'vit_small_patch14_dinov2'``.
        dual_residual: Options of
            :class:`dr2net_mm.reversible.DualResidualOptions`, e.g.
            ``dict(alpha=1.0, beta=0.1, arithmetic='exact')``.
        **kwargs: Other arguments of :class:`.features.TimmFeatures`: ``out_indices``,
            ``pretrained``, ``frozen_stages``, ``output_norm``, ``norm_eval``,
            ``init_cfg``, and all those of timm's model.

    Raises:
        TypeError: If the model has no argument of a name.
        ValueError: If there is no such model, its forward pass is not known, it has
            BatchNorm layers that would train, an argument is out of range, or weights
            are of another model.

    Source: Dr2Net (CVPR 2024), Eq. 1; timm.
    """

    #: With the same arguments and names.
    plain_class = 'ConventionalTimmBackbone'
    has_own_size = True

    def __init__(
        self,
        model_name: str,
        out_indices: OutIndices = None,
        pretrained: Union[None, bool, str] = None,
        dual_residual: Optional[dict] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model_name, out_indices, pretrained is True, **kwargs)
        self._check_batch_norms()
        stages = self._segments(self.family.own_size())[1:]
        self._init_dual_residual(dual_residual, len(stages), ('last',))
        if isinstance(pretrained, str):
            # It may hold coefficients.
            self.load_pretrained(pretrained)

    def forward(self, x: Tensor) -> Union[Tensor, Tuple[Tensor, ...]]:
        """Feature maps [B, C_i, H_i, W_i] of the ``out_indices``, in their order.

        Args:
            x: Images [B, 3, H, W].

        Raises:
            ValueError: If the model does not take images of this shape.
        """
        refuse_symbols(self, x)
        self.check_input(x)
        first, *stages = self._segments((x.shape[2], x.shape[3]))
        plan = self._counted_plan(x)
        *features, x = self._run_first(first, x)
        for number, stage in enumerate(stages):
            outputs = list(self._run_segment(number, stage, x, plan))
            if number < len(stages) - 1:
                x = outputs.pop()
            features += outputs
        return self._returned(features)

    def example_size(self) -> Tuple[int, ...]:
        """Return the shape [C, H, W] that the model is built for."""
        return (getattr(self.timm_model, 'in_chans', 3), *self.family.own_size())

    def _check_batch_norms(self) -> None:
        found = batch_norms(self)
        if found and not self.norm_eval:
            raise ValueError(
                f'{self.model_name} has BatchNorm layers ({found[0]} is the first of '
                f'{len(found)}), whose running statistics an evaluation in the '
                'backward pass would change again; pass norm_eval=True, or choose a '
                'model without them.'
            )

    def _segments(self, size: Tuple[int, int]) -> List[Segment]:
        """Run the forward pass: the layers before the stages, then the stages."""
        return segments(self.family.program(size), self.out_indices)

    def _run_first(self, segment: Segment, x: Tensor) -> Tuple[Tensor, ...]:
        """Embedding, recomputed in a reversible backward pass."""
        trained = any(p.requires_grad for p in self._embedding_parameters())
        if self.recomputes and (trained or x.requires_grad):
            return cp.checkpoint(self._run_tail, segment, x, use_reentrant=False)
        return self._run_tail(segment, x)

    def _run_tail(self, segment: Segment, x: Tensor) -> Tuple[Tensor, ...]:
        return run_layers(segment.tail, self._chunk, self.recomputes, x)

    def _embedding_parameters(self) -> List[torch.nn.Parameter]:
        stages = {
            id(p)
            for stage in self.family.stages()
            for module in stage
            for p in module.parameters()
        }
        return [p for p in self.parameters() if id(p) not in stages]

    def _run_segment(
        self, number: int, segment: Segment, x: Tensor, plan: Optional[Plan]
    ) -> Tuple[Tensor, ...]:
        """Features of a stage, then the stream behind it; without that of the last."""
        branches: List[Branch] = []
        taps: Dict[int, StageOutput] = {}
        chunk = self._chunk
        for item in segment.body:
            if isinstance(item, Blocks):
                for found in branches_of(item, x.shape, chunk):
                    branches += found
            else:
                function = partial(_output, item)
                taps[len(branches)] = StageOutput('last', function, item.modules)
        last = number == len(self._dual_residual_stages) - 1

        def output(fused: Tensor) -> Tuple[Tensor, ...]:
            *features, stream = self._run_tail(segment, fused)
            return tuple(features) if last else (*features, stream)

        outputs = self._run_stage(
            number,
            x,
            branches,
            output,
            modules_of(segment.tail),
            padded_plan(plan, number, branches),
            taps,
            # There may be blocks with attention among the layers.
            graph=any(isinstance(item, Layers) for item in segment.tail),
        )
        return tuple(outputs)


def _output(feature: Feature, fused: Tensor) -> Tuple[Tensor, ...]:
    return (feature.function(fused),)
