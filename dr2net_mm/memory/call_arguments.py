"""Arguments of a call of a module, taken apart into tensors that can be cut."""

import functools
import inspect
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

#: Axes along which a tensor is cut: none, samples, or samples and tokens.
WHOLE, SAMPLES, TOKENS = 0, 1, 2

_signature = functools.lru_cache(maxsize=None)(inspect.signature)


def named_arguments(
    method: Callable[..., Any], args: Sequence[Any], kwargs: Dict[str, Any]
) -> Dict[str, Any]:
    """Return arguments of a method by name, those of its ``**kwargs`` among them.

    Raises:
        TypeError: If the method does not take them, or has no names for them.
    """
    signature = _signature(method)
    bound = signature.bind(None, *args, **kwargs)
    arguments = dict(list(bound.arguments.items())[1:])
    for name, parameter in signature.parameters.items():
        if name not in arguments:
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name))
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(
                f'{method.__qualname__} takes *{name}, arguments without names, '
                'which cannot be cut; checkpoint the module with modules=[...]'
            )
    return arguments


class CallArguments:
    """Arguments of one call, and how each tensor among them is cut.

    Args:
        arguments: Values by name; tensors may stand in tuples, lists and dictionaries.
        samples: Names of arguments whose tensors begin with the samples, [B, ...] or
            [k·B, ...], the first of them [B, ...].
        tokens: Names among them whose tensors are [B, N, ...] and cut along N too.
        shared: Names of arguments that every piece sees whole.
        owner: What the call is of, for messages.

    Attributes:
        tensors: All tensors, in order.
        batch: B.
        length: N, or None where no token is cut.

    Raises:
        ValueError: If an argument with tensors is not named, or sizes disagree.
    """

    def __init__(
        self,
        arguments: Dict[str, Any],
        samples: Sequence[str],
        tokens: Sequence[str],
        shared: Sequence[str],
        owner: str,
    ) -> None:
        leaves, self._spec = tree_flatten(arguments)
        names = [
            name for name, value in arguments.items() for _ in tree_flatten(value)[0]
        ]
        self._leaves = [None if isinstance(x, Tensor) else x for x in leaves]
        self._places = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        self.tensors: List[Tensor] = [leaves[i] for i in self._places]
        self.names = [names[i] for i in self._places]
        unknown = set(self.names) - set(samples) - set(shared)
        if unknown:
            raise ValueError(
                f'{owner} is called with tensors that its cut does not know: '
                f'{", ".join(sorted(unknown))}; name them in samples or in shared'
            )
        first = [t for name in samples for t in self._of(name)][:1]
        if not first:
            raise ValueError(
                f'{owner} is called without a tensor that can be cut; accepted: '
                f'{", ".join(samples)}'
            )
        self.batch = first[0].shape[0]
        self.length = first[0].shape[1] if tokens else None
        self.axes = [
            self._axes(name, tensor, samples, tokens, owner)
            for name, tensor in zip(self.names, self.tensors)
        ]

    def _of(self, name: str) -> List[Tensor]:
        return [t for known, t in zip(self.names, self.tensors) if known == name]

    def _axes(
        self,
        name: str,
        tensor: Tensor,
        samples: Sequence[str],
        tokens: Sequence[str],
        owner: str,
    ) -> int:
        if name not in samples:
            return WHOLE
        if name.endswith('_mask') and tensor.dim() == 2 and name not in tokens:
            # A mask [N, N] is one for all samples, [B·heads, N, N] one for each;
            # padding masks are [B, N].
            if tensor.shape[0] != self.batch or 'padding' not in name:
                return WHOLE
        fits = tensor.dim() > 0 and tensor.shape[0] % max(self.batch, 1) == 0
        if fits and name in tokens:
            fits = tensor.dim() > 1 and tensor.shape[1] == self.length
        if not fits:
            expected = f'[{self.batch}, ' + (f'{self.length}, ' if tokens else '')
            raise ValueError(
                f'{owner} is called with {name} of shape {tuple(tensor.shape)}, which '
                f'cannot be cut; accepted: {expected}...]'
            )
        return TOKENS if name in tokens else SAMPLES

    def release(self) -> None:
        """Let go of the tensors; sizes and places stay."""
        self.tensors = []

    def select(
        self, tensors: Sequence[Tensor], rows: slice, columns: Optional[slice] = None
    ) -> List[Tensor]:
        """Return views of some samples, and tokens, of tensors like ours."""
        return [
            part(tensor, axes, rows, columns, self.batch)
            for tensor, axes in zip(tensors, self.axes)
        ]

    def built(self, tensors: Sequence[Tensor]) -> Dict[str, Any]:
        """Return the arguments with other tensors in place of ours."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors):
            leaves[place] = tensor
        return tree_unflatten(leaves, self._spec)


def part(
    tensor: Tensor, axes: int, rows: slice, columns: Optional[slice], batch: int
) -> Tensor:
    """Return a view of the rows of some samples, and of some of their tokens."""
    if axes == WHOLE:
        return tensor
    each = tensor.shape[0] // batch
    tensor = tensor[rows.start * each : rows.stop * each]
    if axes == TOKENS and columns is not None:
        tensor = tensor[:, columns]
    return tensor


def slices(total: int, size: int) -> Tuple[slice, ...]:
    """Return runs of at most ``size`` out of ``total``, as even as they can be."""
    count = -(-total // max(1, size))
    bounds = [total * i // count for i in range(count + 1)]
    return tuple(slice(a, b) for a, b in zip(bounds, bounds[1:]))
