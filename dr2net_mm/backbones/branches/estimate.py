"""Cost of a branch, estimated from the modules that it is made of."""

from typing import Iterable, Iterator

from torch import nn

from dr2net_mm.reversible.branch import TokenCost

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_FREE = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)


def estimated_cost(
    modules: Iterable[nn.Module], width: int, weights: float = 0, products: float = 0
) -> TokenCost:
    """Estimate what modules cost that a token passes one after another.

    A linear layer or convolution keeps its output, a norm, an activation and a layer
    scale theirs, at the width that the layer before has. Convolutions count as if they
    had a stride of 1.

    Args:
        modules: The modules, in the order of evaluation.
        width: Numbers of a token of the stream.
        weights: Attention weights that are kept for a token.
        products: Multiply-adds of attention for a token, beside those of its layers.
    """
    now = widest = width
    kept = float(width) + weights
    work = products
    for leaf in _leaves(modules):
        if isinstance(leaf, nn.Linear):
            now = leaf.out_features
        elif isinstance(leaf, _CONVOLUTIONS):
            now = leaf.out_channels
        if isinstance(leaf, (nn.Linear, *_CONVOLUTIONS)):
            work += leaf.weight.numel()
        widest = max(widest, now)
        kept += now
    if products:
        # What is projected behind the attention.
        kept += width
    return TokenCost(
        kept_values=int(kept),
        # Gradients of both sides of the widest layer, and of the weights.
        transient_values=int(kept + 2 * widest + weights),
        multiply_adds=int(max(work, width)),
        # The input, and the result (scaled by drop path).
        single_values=2 * width,
    )


def _leaves(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield modules without children that keep something for the backward pass."""
    for module in modules:
        for leaf in module.modules():
            free = isinstance(leaf, _FREE) or type(leaf).__name__ == 'DropPath'
            if not free and not list(leaf.children()):
                yield leaf


def per_row(cost: TokenCost, tokens: int, rows: int) -> TokenCost:
    """Turn costs of a token into those of a row of a stream with other rows.

    A stream [B, C, H, W] has rows of W numbers, C times as many as it has tokens over
    W.

    Args:
        cost: Costs of a token.
        tokens: Tokens of a sample.
        rows: Rows of a sample.
    """

    def of_row(value: int) -> int:
        return -(-value * tokens // rows)

    single = cost.single_values
    return TokenCost(
        of_row(cost.kept_values),
        of_row(cost.transient_values),
        of_row(cost.multiply_adds),
        None if single is None else of_row(single),
    )
