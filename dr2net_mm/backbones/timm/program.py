"""The forward pass of a model as a sequence of residual blocks and other layers."""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

from torch import Tensor, nn

from dr2net_mm.backbones.branches.chunking import tokens_per_piece
from dr2net_mm.backbones.branches.estimate import estimated_cost
from dr2net_mm.backbones.branches.parts import in_parts

Function = Callable[[Tensor], Tensor]
Chunk = Union[None, int, str]


class Layers(NamedTuple):
    """Ordinary layers, such as an embedding or a merging of patches.

    Attributes:
        function: From the stream to the next one, or from images to the first.
        modules: The modules whose parameters it uses.
        width: Channels of what it takes, where it treats each sample by itself and may
            be evaluated for some of them at a time; 0 where it is not.
    """

    function: Function
    modules: Sequence[nn.Module] = ()
    width: int = 0

    def evaluate(self, x: Tensor, chunk: Chunk, recompute: bool) -> Tensor:
        """Apply the function to a batch, some samples at a time if it is large.

        Args:
            x: What it takes, batch first.
            chunk: How many tokens at a time, see ``DualResidualOptions.chunk``.
            recompute: Whether what a part keeps is recomputed in its backward pass.
        """
        if not self.width or len(x) == 1:
            return self.function(x)
        tokens = x.numel() // self.width
        values = estimated_cost(self.modules, self.width).transient_values
        size = tokens_per_piece(chunk, tokens, self.width, values)
        if size is None:
            return self.function(x)
        samples = max(1, size * len(x) // tokens)
        return in_parts(self.function, x, samples, recompute)


class Blocks(NamedTuple):
    """Residual blocks that keep the shape of the stream.

    Attributes:
        blocks: The blocks, in order.
        width: Channels of the stream.
        arguments: What the model hands to its blocks beside the stream; may be filled
            in by the layers before.
        channels_last: Whether the stream is [B, H, W, C] though the blocks take
            [B, C, H, W]: they see the same numbers in memory as in timm, where such
            maps have channels last in memory.
        more: Further arguments of what makes the branches.
    """

    blocks: Sequence[nn.Module]
    width: int
    arguments: Dict[str, Any] = {}
    channels_last: bool = False
    more: Dict[str, Any] = {}


class Feature(NamedTuple):
    """A feature map that the backbone may return.

    Attributes:
        number: Its number, in timm's count.
        function: From the stream to the feature map [B, C, H, W].
        modules: The modules whose parameters it uses.
    """

    number: int
    function: Function
    modules: Sequence[nn.Module] = ()


#: What has no branches: an ordinary part of the network.
Tail = Union[Layers, Feature]
Item = Union[Tail, Blocks]
Program = List[Item]


class Segment(NamedTuple):
    """Items that are evaluated together: those behind the blocks follow the last one.

    Attributes:
        body: Residual blocks and the features between them; empty at the beginning of
            a program.
        tail: Features and ordinary layers.
    """

    body: List[Union[Blocks, Feature]]
    tail: List[Tail]


def segments(program: Sequence[Item], wanted: Sequence[int]) -> List[Segment]:
    """Cut a program into its beginning and its dual-residual stages.

    Blocks between which nothing happens to the stream are in one stage.

    Args:
        program: The items.
        wanted: Numbers of the features that are kept; what follows the last one is
            left out.
    """
    result = [Segment([], [])]
    for item in program:
        if isinstance(item, Feature) and item.number not in wanted:
            continue
        body, tail = result[-1]
        if not isinstance(item, Blocks):
            tail.append(item)
        elif body and not any(isinstance(one, Layers) for one in tail):
            body += [*_features(tail), item]
            tail.clear()
        else:
            result.append(Segment([item], []))
    while result and not _features([*result[-1].body, *result[-1].tail]):
        result.pop()
    tail = result[-1].tail if result else []
    while tail and not isinstance(tail[-1], Feature):
        tail.pop()
    return result


def _features(items: Sequence[Item]) -> List[Feature]:
    return [one for one in items if isinstance(one, Feature)]


def run_layers(
    items: Sequence[Tail], chunk: Chunk, recompute: bool, x: Tensor
) -> Tuple[Tensor, ...]:
    """Features and ordinary layers in order: the features, then the stream."""
    features = []
    for item in items:
        if isinstance(item, Feature):
            features.append(item.function(x))
        else:
            x = item.evaluate(x, chunk, recompute)
    return (*features, x)


def modules_of(items: Sequence[Tail]) -> List[nn.Module]:
    """Modules that features and ordinary layers use."""
    return [module for item in items for module in item.modules]
