"""Dual-residual stages as ordinary float operations, for export to other runtimes.

The numbers are those of evaluation mode in ``arithmetic='float'``. Nothing is done in
place, nothing depends on the batch size, and whole streams are worked on at a time.
"""

import contextlib
import math
from functools import lru_cache
from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dr2net_mm.models.backbones import dual_residual_backbones
from dr2net_mm.models.branches import WindowAttentionBranch
from dr2net_mm.models.branches.window_attention import MASKED, attention_bias
from dr2net_mm.models.branches.windows import window_layout
from dr2net_mm.reversible import WHOLE, Branch, DualResidualStage, Head
from dr2net_mm.reversible.coefficients import BETA_BITS, beta_numerator


@contextlib.contextmanager
def float_stages(model: nn.Module) -> Iterator[None]:
    """Context in which the stages of a model's backbones are :class:`FloatStage`."""
    with contextlib.ExitStack() as stack:
        for backbone in dual_residual_backbones(model).values():
            stack.enter_context(backbone.replaced_stages(FloatStage))
        yield


class FloatStage:
    """A stage that stands in for a :class:`DualResidualStage` in evaluation mode.

        x_i = F_i(x_{i-1}) + α·x_{i-1} + y_{i-1},  y_i = β·x_{i-1}

    with α and β as constants; a coefficient of 1 takes no multiplication, and one of
    0 no stream.

    Args:
        stage: The stage whose options it takes.
    """

    def __init__(self, stage: DualResidualStage) -> None:
        self.name = stage.name
        self.options = stage.options

    def __call__(
        self,
        x: Tensor,
        branches: Sequence[Branch],
        alpha: float,
        beta: float,
        head: Optional[Head] = None,
        stored: Optional[Sequence[bool]] = None,
    ) -> Tuple[Tensor, ...]:
        """Outputs of the stage; the arguments are those of the stage it stands in for.

        Raises:
            RuntimeError: If gradients are enabled.
        """
        if torch.is_grad_enabled():
            raise RuntimeError(f'{self.name} is for export, under torch.no_grad()')
        head = head or Head(self.options.fusion)
        if self.options.arithmetic == 'exact':
            beta = beta_numerator(beta) / (1 << BETA_BITS)
        y = _scaled(x, beta)
        for branch in branches:
            parts = [_evaluate(branch, x), _scaled(x, alpha), y]
            y = _scaled(x, beta)
            x = sum(part for part in parts if part is not None)
        if head.fusion != 'last' and y is None:
            y = torch.zeros_like(x)
        return head(head.join(x, y))


def _scaled(x: Tensor, factor: float) -> Optional[Tensor]:
    if factor == 0:
        return None
    return x if factor == 1 else x * factor


def _evaluate(branch: Branch, x: Tensor) -> Tensor:
    """F on a whole stream [B, tokens, C]."""
    if isinstance(branch, WindowAttentionBranch):
        return _window_attention(branch, x)
    (whole,) = WHOLE
    return branch(x, whole, branch.noise(x))


def _window_attention(branch: WindowAttentionBranch, x: Tensor) -> Tensor:
    """Attention in all windows of all samples at once.

    The branch itself gathers tokens of a batch by their place in the batch; here each
    sample's are gathered alike, so that the batch may have any size.
    """
    msa, places = branch.msa, math.prod(branch.window)
    grid = _window_grid(branch.size, branch.window, branch.shift)
    # Padding reads the token behind the last one.
    x = F.pad(branch.norm(x), (0, 0, 0, 1)).index_select(1, grid.index)
    channels = x.shape[2]
    width = channels // msa.num_heads
    qkv = msa.qkv(x).view(-1, grid.windows, places, 3, msa.num_heads, width)
    q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
    logits = (q * msa.scale) @ k.transpose(-2, -1)
    logits = logits + attention_bias(msa, places, None)
    if grid.mask is not None:
        logits = logits + grid.mask
    out = (logits.softmax(dim=-1) @ v).transpose(2, 3)
    out = out.reshape(-1, grid.windows * places, channels)
    return msa.proj(out.index_select(1, grid.place_of_token))


class _WindowGrid(NamedTuple):
    """Windows of a sample, as tensors that are constants of an exported graph.

    Attributes:
        windows: Number of windows.
        index: Token of each place, the number of tokens for padding: [windows · N].
        place_of_token: Place of each token, [tokens].
        mask: What is added to logits of places of different regions,
            [windows, 1, N, N]; None if there is one region.
    """

    windows: int
    index: Tensor
    place_of_token: Tensor
    mask: Optional[Tensor]


# As many as a Swin of four stages has, plain and shifted.
@lru_cache(maxsize=8)
def _window_grid(
    size: Tuple[int, ...], window: Tuple[int, ...], shift: Tuple[int, ...]
) -> _WindowGrid:
    layout = window_layout(size, window, shift)
    tokens = math.prod(size)
    index = layout.index.reshape(-1)
    filled = (index >= 0).nonzero().view(-1)
    place_of_token = torch.empty(tokens, dtype=torch.int64)
    place_of_token[index[filled]] = filled
    mask = None
    if layout.unmasked < len(layout.index):
        different = layout.region.unsqueeze(1) != layout.region.unsqueeze(2)
        mask = torch.zeros(different.shape).masked_fill_(different, MASKED)
        mask = mask.unsqueeze(1)
    index = index.masked_fill(index < 0, tokens)
    return _WindowGrid(len(layout.index), index, place_of_token, mask)
