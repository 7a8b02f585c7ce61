"""How a module can be cut into pieces: along samples, or along tokens."""

from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from .call_arguments import CallArguments, named_arguments
from .piecewise import Evaluation, PiecewiseCall

#: Tokens or samples of a piece: a number, or 'auto' by the size of the input.
Size = Union[int, str]

#: Bytes that the activations of an automatic piece may take whatever the input's size.
FLOOR = 32 * 2**20

#: Bytes of activations below which nothing is cut or recomputed automatically.
WORTH = 4 * 2**20

_ELEMENTWISE = (
    nn.Identity,
    nn.Dropout,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.ELU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Hardswish,
)

#: Classes whose own forward treats each token by itself if their children do.
_COMPOSITES = ('mmcv.FFN', 'mmdet.MLP', 'mmcv.LayerScale', 'timm.Mlp')


def forward_name(module: nn.Module, method: str = 'forward') -> str:
    """Return package, class and method that run, such as ``mmdet.FPN.forward``."""
    function = getattr(type(module), method)
    return f'{function.__module__.split(".")[0]}.{function.__qualname__}'


def values_per_number(module: nn.Module, x: Tensor) -> float:
    """Estimate the numbers that a module keeps for each number of its input.

    Every linear layer and convolution is taken to keep its output and what an
    activation makes of it.

    Args:
        module: The module.
        x: Its input, [..., C], or [B, C, ...] of a module with convolutions.
    """
    outputs, axis = 0, -1
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            outputs += layer.out_features
        elif isinstance(layer, _ConvNd):
            outputs += layer.out_channels
            axis = 1
    return 1 + 2 * outputs / x.shape[axis]


class Cut:
    """A way to run the calls of a module in pieces.

    Args:
        samples: Names of arguments that begin with the samples.
        tokens: Names among them whose second axis are tokens, cut too.
        shared: Names of arguments that every piece sees whole.
        method: The method of the module that is called.
        modules: Names of the children whose parameters it uses; by default all.
    """

    def __init__(
        self,
        samples: Sequence[str],
        tokens: Sequence[str] = (),
        shared: Sequence[str] = (),
        method: str = 'forward',
        modules: Sequence[str] = (),
    ) -> None:
        self.samples = tuple(samples)
        self.tokens = tuple(tokens)
        self.shared = tuple(shared)
        self.method = method
        self.modules = tuple(modules)

    @property
    def along_tokens(self) -> bool:
        """Whether the pieces are of tokens, not of samples."""
        return bool(self.tokens)

    def refusal(self, module: nn.Module) -> Optional[str]:
        """Return why a module cannot be cut like this, or None."""
        for name, layer in module.named_modules():
            if isinstance(layer, _BatchNorm) and self._uses(name):
                return (
                    f'{name or "it"} is a {type(layer).__name__}, which takes its '
                    'statistics over the whole batch'
                )
        return None

    def run(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: Dict[str, Any],
        size: Size = 'auto',
    ) -> Any:
        """Call the module in pieces.

        Args:
            module: The module.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            size: Tokens of a piece, or samples where tokens are not cut.
        """
        method = getattr(type(module), self.method)
        owner = f'{type(module).__name__}.{self.method}'
        arguments = CallArguments(
            named_arguments(method, args, kwargs),
            self.samples,
            self.tokens,
            self.shared,
            owner,
        )
        if arguments.batch == 0 or arguments.length == 0:
            return method(module, *args, **kwargs)
        given, kept = self.activation_bytes(module, arguments)
        if size != 'auto':
            units = int(size)
        elif kept < WORTH:
            return method(module, *args, **kwargs)
        else:
            count = arguments.batch * (arguments.length or 1)
            units = max(1, int(count * max(given, FLOOR) / kept))
        samples, tokens = units, None
        if self.tokens:
            assert arguments.length is not None
            tokens = self.token_limit(module, units, arguments.length)
            samples = max(1, units // arguments.length)
        return PiecewiseCall(
            self.evaluation(module, method),
            arguments,
            self.parameters(module),
            min(samples, arguments.batch),
            tokens,
            owner,
        )()

    def activation_bytes(
        self, module: nn.Module, arguments: CallArguments
    ) -> Tuple[int, float]:
        """Estimate the bytes of the arguments that are cut, and of what is kept."""
        cut = [
            tensor
            for tensor, name in zip(arguments.tensors, arguments.names)
            if name in self.samples
        ]
        given = sum(tensor.nbytes for tensor in cut)
        return given, given * values_per_number(module, cut[0])

    def token_limit(self, module: nn.Module, units: int, length: int) -> int:
        """Return the tokens of a piece: all of a sample where it is skipped as one."""
        for layer in module.modules():
            if type(layer).__name__ == 'DropPath' and layer.training:
                if getattr(layer, 'drop_prob', 0):
                    return length
        return min(units, length)

    def evaluation(self, module: nn.Module, method: Callable[..., Any]) -> Evaluation:
        """Return what is evaluated on a piece: the method of the class."""
        return _Method(module, method)

    def parameters(self, module: nn.Module) -> Sequence[nn.Parameter]:
        """Return the parameters that the method uses, each once."""
        chosen = [module.get_submodule(name) for name in self.modules] or [module]
        return list(dict.fromkeys(p for part in chosen for p in part.parameters()))

    def _uses(self, name: str) -> bool:
        return not self.modules or name.split('.')[0] in self.modules


class _Method(Evaluation):
    def __init__(self, module: nn.Module, method: Callable[..., Any]) -> None:
        self._module = module
        self._method = method

    def evaluate(self, arguments: Dict[str, Any], shared: Optional[Tensor]) -> Any:
        return self._method(self._module, **arguments)


class TokenCut(Cut):
    """Cut of a module that treats each token [..., C] by itself."""

    def __init__(self) -> None:
        super().__init__(samples=())

    @property
    def along_tokens(self) -> bool:
        """Whether the pieces are of tokens: always."""
        return True

    def refusal(self, module: nn.Module) -> Optional[str]:
        """Return which layer may mix tokens, or None."""
        for name, layer in module.named_modules():
            reason = _mixes_tokens(layer)
            if reason:
                return f'{name or "it"} is a {type(layer).__name__}, {reason}'
        return None

    def run(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: Dict[str, Any],
        size: Size = 'auto',
    ) -> Any:
        """Call the module on pieces of all its tokens."""
        method = type(module).forward
        given = named_arguments(method, args, kwargs)
        tensors = {k: v for k, v in given.items() if isinstance(v, Tensor)}
        shape = next(iter(tensors.values())).shape
        if any(tensor.shape[:-1] != shape[:-1] for tensor in tensors.values()):
            return method(module, *args, **kwargs)
        # [..., C] to [T, C]: tokens take the place of samples.
        flat = {k: v.flatten(0, -2) for k, v in tensors.items()}
        cut = Cut(tuple(flat))
        output = cut.run(module, (), {**given, **flat}, size)
        return output.unflatten(0, shape[:-1])


def _mixes_tokens(layer: nn.Module) -> Optional[str]:
    """Return why a layer may not treat each token by itself, or None."""
    if isinstance(layer, (*_ELEMENTWISE, nn.Linear, nn.Sequential, nn.ModuleList)):
        return None
    if isinstance(layer, nn.LayerNorm):
        several = len(layer.normalized_shape) > 1
        return 'which normalizes over several axes' if several else None
    if type(layer).__name__ == 'DropPath':
        active = getattr(layer, 'drop_prob', 0)
        return 'which skips whole samples' if active else None
    if forward_name(layer).rsplit('.', 1)[0] in _COMPOSITES:
        return None
    return 'which is not known to treat each token by itself'


def runs_as_usual(module: nn.Module) -> bool:
    """Return whether a call needs no gradients, or is not one of training."""
    return not (module.training and torch.is_grad_enabled())
