"""Base of the dual-residual backbones whose stages are token grids."""

from abc import ABC, abstractmethod
from functools import partial
from typing import List, Optional, Sequence, Tuple

import torch.utils.checkpoint as cp
from torch import Tensor, nn

from dr2net_mm.backbones.base.arguments import (
    check_frozen_stages,
    checkpointing_refusal,
)
from dr2net_mm.backbones.base.dual_residual import DualResidualBackbone
from dr2net_mm.backbones.base.wrapping import refuse_symbols
from dr2net_mm.reversible import Branch
from dr2net_mm.reversible.plan import StageCost
from dr2net_mm.reversible.replay import AutocastState

GridSize = Tuple[int, ...]


class TokenGridBackbone(DualResidualBackbone, ABC):
    """Mixin of a Swin: stages of tokens on a grid, and patch merging between them.

    Patch embedding, patch merging and norms are the parent's and are recomputed in the
    backward pass. A subclass has the parent's ``out_indices``, ``frozen_stages`` and
    ``norm{i}``, and calls :meth:`_init_token_grid` at the end of its ``__init__``.
    """

    #: Whether a stage's feature map is that of the merged patches.
    out_after_downsample = False

    out_indices: Sequence[int]
    frozen_stages: int

    @abstractmethod
    def _grid_stages(self) -> nn.ModuleList:
        """Return the parent's stages, with ``blocks`` and ``downsample`` or None."""

    @abstractmethod
    def _stage_channels(self, i: int) -> int:
        """Return the channels of the tokens of a stage."""

    @abstractmethod
    def _embed_patches(self, x: Tensor) -> Tuple[Tensor, GridSize]:
        """Embed patches: tokens [B, T, C], and the size of their grid."""

    @abstractmethod
    def _block_branches(self, block: nn.Module, size: GridSize) -> List[Branch]:
        """Return the residual branches of a block."""

    @abstractmethod
    def _downsample(self, layer: nn.Module, x: Tensor, size: GridSize) -> Tensor:
        """Merge tokens [B, T, C] into patches [B, T / 4, 2C]."""

    @abstractmethod
    def _downsampled_size(self, layer: nn.Module, size: GridSize) -> GridSize:
        """Return the size of a grid after patch merging."""

    @abstractmethod
    def _patch_strides(self) -> Sequence[int]:
        """Return the strides of the patch embedding along each axis of an input."""

    def input_costs(
        self, shape: Sequence[int], branch_bytes: int = 4
    ) -> List[StageCost]:
        """Compute memory and work of each stage for an input of a shape."""
        # The last patches are padded.
        strides = self._patch_strides()
        grid = tuple(-(-n // step) for n, step in zip(shape[2:], strides))
        return self.stage_costs(shape[0], grid, branch_bytes)

    def _init_token_grid(self, dual_residual: Optional[dict]) -> None:
        """Set up the dual-residual stages and freeze what is to be frozen.

        mmdet freezes when training begins. DistributedDataParallel, which wraps the
        model before, would wait for gradients that never come.

        Raises:
            ValueError: If an option is unknown or out of range, or ``with_cp`` is on.
        """
        stages = self._grid_stages()
        self._freeze_stages()
        self._init_dual_residual(dual_residual, len(stages), ('last', 'mean'))
        if any(block.with_cp for stage in stages for block in stage.blocks):
            raise ValueError(checkpointing_refusal(type(self).__name__))

    def _freeze_stages(self) -> None:
        """Freeze what ``frozen_stages`` says.

        Raises:
            ValueError: If there are fewer stages.
        """
        check_frozen_stages(self.frozen_stages, len(self._grid_stages()), 'stages')
        super()._freeze_stages()  # type: ignore[misc]  # of the conventional class

    def _feature_maps(
        self, x: Tensor, frames: Optional[Sequence[int]] = None
    ) -> List[Tensor]:
        """Compute the feature maps [B, C_i, *size_i] of ``out_indices``.

        Args:
            x: Images [B, in_channels, H, W] or videos [B, in_channels, T, H, W].
            frames: Numbers along the first axis of the grid, by default all. Maps of
                others are not computed.
        """
        refuse_symbols(self, x)
        x, size = self._embed(x)
        # The tracer of an export makes tensors of them.
        size = tuple(int(length) for length in size)
        branch_bytes = 2 if AutocastState(x.device).enabled() else 4
        plan = self._storage_plan(
            (x.shape[0], *size, branch_bytes),
            lambda: self.stage_costs(x.shape[0], size, branch_bytes),
        )
        outs = []
        for i, stage in enumerate(self._grid_stages()):
            outputs = self._run_stage(
                i,
                x,
                self._branches(stage, size),
                partial(self._finish_stage, i, size=size, frames=frames),
                self._finishing_modules(i),
                plan,
            )
            if i in self.out_indices:
                outs.append(outputs[0])
            if stage.downsample is not None:
                x, size = outputs[-1], self._downsampled_size(stage.downsample, size)
        return outs

    def _embed(self, x: Tensor) -> Tuple[Tensor, GridSize]:
        """Patch embedding [B, T, C], recomputed in a reversible backward pass."""
        if self.recomputes and self.frozen_stages < 0:
            return cp.checkpoint(self._embed_patches, x, use_reentrant=False)
        return self._embed_patches(x)

    def _branches(self, stage: nn.Module, size: GridSize) -> List[Branch]:
        return [
            branch
            for block in stage.blocks
            for branch in self._block_branches(block, size)
        ]

    def _finish_stage(
        self,
        i: int,
        x: Tensor,
        size: GridSize,
        frames: Optional[Sequence[int]] = None,
    ) -> Tuple[Tensor, ...]:
        """Return the wanted feature map of a stage, and the next stage's input."""
        layer, outputs = self._grid_stages()[i].downsample, []
        if self.out_after_downsample and layer is not None:
            x = self._downsample(layer, x, size)
            layer, size = None, self._downsampled_size(layer, size)
            outputs.append(x)
        if i in self.out_indices:
            wanted, shown = x, size
            if frames is not None:
                grid = x.view(len(x), size[0], -1, x.shape[-1])
                wanted = grid[:, list(frames)].flatten(1, 2)
                shown = (len(frames), *size[1:])
            out = getattr(self, f'norm{i}')(wanted).transpose(1, 2).contiguous()
            outputs.insert(0, out.view(*out.shape[:2], *shown))
        if layer is not None:
            outputs.append(self._downsample(layer, x, size))
        return tuple(outputs) or (x,)

    def _finishing_modules(self, i: int) -> Sequence[nn.Module]:
        modules = [getattr(self, f'norm{i}')] if i in self.out_indices else []
        downsample = self._grid_stages()[i].downsample
        return modules if downsample is None else [*modules, downsample]

    def stage_costs(
        self, batch: int, size: GridSize, branch_bytes: int = 4
    ) -> List[StageCost]:
        """Compute memory and work of each stage.

        Args:
            batch: Number of images or videos.
            size: Size of the token grid of the first stage.
            branch_bytes: Bytes of a number within a branch, 2 under autocast.
        """
        costs = []
        for i, stage in enumerate(self._grid_stages()):
            tokens, channels = batch, self._stage_channels(i)
            for length in size:
                tokens *= length
            # The parents count the patch embedding as the first frozen stage.
            branches = self._branches(stage, size) if i >= self.frozen_stages else ()
            steps = self._step_costs(branches, tokens, channels, branch_bytes)
            stream = 4 * tokens * channels
            wanted, merged = i in self.out_indices, stage.downsample is not None
            costs.append(
                StageCost(
                    stream,
                    outputs=stream * wanted,
                    steps=steps,
                    # Norm and the feature map made of it; the neighborhoods that are
                    # merged, their norm, the input of the next stage.
                    finish=int(stream * (1 + 2 * wanted + 2.5 * merged)),
                    # What the first norm sees, and the neighborhoods and their norm.
                    between=stream * (1 + 2 * merged),
                )
            )
            if merged:
                size = self._downsampled_size(stage.downsample, size)
        return costs
