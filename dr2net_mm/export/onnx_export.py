"""Dual-residual networks in evaluation mode as ONNX graphs, checked by onnxruntime."""

import importlib
import inspect
import io
import warnings
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.backbones import dual_residual_backbones
from dr2net_mm.errors import UserError
from dr2net_mm.version import __version__

from .float_stage import float_stages
from .networks import largest_difference

#: Version of ONNX's operators: the first with layer normalization.
OPSET = 17

#: Most that outputs may differ by, as a share of their largest magnitude.
TOLERANCE = 1e-3

#: Batch sizes that the graph is run at.
CHECKED_BATCHES = (1, 3)


class Exported(NamedTuple):
    """A graph and how far it is from the network.

    Attributes:
        content: The ONNX file.
        outputs: Shapes of the outputs, by name, for a batch of one.
        from_float: Largest difference from torch's float arithmetic, as a share of
            the largest magnitude of an output.
        from_network: The same from the network as it is, e.g. in exact arithmetic.
    """

    content: bytes
    outputs: Dict[str, Tuple[int, ...]]
    from_float: float
    from_network: float


def check_packages() -> None:
    """Raise unless the packages for export and its check can be imported.

    Raises:
        UserError: Naming those that are missing.
    """
    missing = []
    for name in ('onnx', 'onnxruntime'):
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(
            f'ONNX export needs {" and ".join(missing)}, which cannot be imported: '
            f'pip install {" ".join(missing)}'
        )


def export_onnx(
    network: nn.Module,
    example: Tensor,
    opset: int = OPSET,
    tolerance: float = TOLERANCE,
    output_name: Optional[str] = None,
) -> Exported:
    """Export the graph of a network, with its coefficients as constants.

    The streams are float numbers in the graph, whatever ``arithmetic`` the network has:
    they differ from those of exact arithmetic by its rounding. The batch may have any
    size; every other axis is that of the example.

    Args:
        network: From a tensor to a tensor or several, with a dual-residual backbone.
        example: Input [1, ...].
        opset: Version of ONNX's operators.
        tolerance: Most that onnxruntime's outputs may differ by from the network's,
            as a share of the largest magnitude of an output.
        output_name: Name of the only output; several are ``feature_0``, ....

    Raises:
        UserError: If a package is missing, the exporter fails, or outputs differ.
    """
    check_packages()
    network = _Flat(network)
    network.eval()
    with torch.no_grad(), float_stages(network):
        # Also makes the constants, which would be operators of the graph otherwise.
        outputs = network(example)
        names = _output_names(outputs, output_name)
        content = _traced(network, example, names, opset)
    content = _with_properties(content, network)
    from_float, from_network = _compare(network, content, example)
    worst = max(from_float, from_network)
    if not worst <= tolerance:
        raise UserError(
            f'outputs of onnxruntime differ by {worst:.2g} of their largest magnitude '
            f'(from float arithmetic by {from_float:.2g}), more than {tolerance}; '
            'nothing was written. Random or diverged weights do that; otherwise raise '
            '--tolerance if that is near enough'
        )
    shapes = {name: tuple(output.shape) for name, output in zip(names, outputs)}
    return Exported(content, shapes, from_float, from_network)


class _Flat(nn.Module):
    """A network whose outputs are a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        outputs = self.network(x)
        return tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)


def _output_names(outputs: Sequence[Tensor], name: Optional[str]) -> List[str]:
    if name is not None and len(outputs) == 1:
        return [name]
    return [f'feature_{i}' for i in range(len(outputs))]


def _traced(
    network: nn.Module, example: Tensor, names: Sequence[str], opset: int
) -> bytes:
    """Export with torch's exporter that every supported torch has."""
    options: Dict[str, Any] = {}
    # The other exporter, the default of newer ones, needs onnxscript and torch 2.5.
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Sizes of images become constants, as they should.
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                network,
                (example,),
                file,  # type: ignore[arg-type] # torch 2.1 takes buffers, too
                input_names=['input'],
                output_names=list(names),
                dynamic_axes={name: {0: 'batch'} for name in ['input', *names]},
                opset_version=opset,
                **options,
            )
        except (RuntimeError, ValueError) as error:
            reason = ' '.join(str(error).split())[:300]
            raise UserError(
                f"torch's ONNX exporter refuses with opset {opset}: {reason}"
            ) from error
    return file.getvalue()


def _with_properties(content: bytes, network: nn.Module) -> bytes:
    """Add the author and the coefficients to the file, and check that it is valid."""
    import onnx

    model = onnx.load_from_string(content)
    properties = dict(dr2net_mm_version=__version__)
    for backbone in dual_residual_backbones(network).values():
        properties.update(alpha=str(backbone.alpha), beta=str(backbone.beta))
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _compare(
    network: nn.Module, content: bytes, example: Tensor
) -> Tuple[float, float]:
    """Measure the differences from float arithmetic and from the network itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        content, options, providers=['CPUExecutionProvider']
    )
    generator = torch.Generator().manual_seed(1)
    graph, floats, own = [], [], []
    for batch in CHECKED_BATCHES:
        shape = (batch, *example.shape[1:])
        x = torch.randn(shape, generator=generator)
        found = [torch.from_numpy(a) for a in session.run(None, {'input': x.numpy()})]
        with torch.no_grad():
            expected = network(x)
            with float_stages(network):
                in_float = network(x)
        if [a.shape for a in found] != [b.shape for b in expected]:
            shapes = [[tuple(a.shape) for a in pair] for pair in (found, expected)]
            raise UserError(
                f'onnxruntime gives outputs of shapes {shapes[0]} for a batch of '
                f'{batch}, torch {shapes[1]}; nothing was written'
            )
        graph += found
        floats += in_float
        own += expected
    return largest_difference(graph, floats), largest_difference(graph, own)
