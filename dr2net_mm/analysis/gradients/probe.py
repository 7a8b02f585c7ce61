"""Gradients of a reversible backward compared with those of a stored one."""

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from dr2net_mm.analysis.precision import AMP_DTYPES
from dr2net_mm.analysis.quiet import quiet_logger
from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    reversible_backbone,
)
from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.reversible.errors import FixedPointOverflowError
from dr2net_mm.reversible.gradient_error import GradientError, compare_gradients


def _gradients(
    model: nn.Module,
    image: Tensor,
    projections: Sequence[Tensor],
    amp: Optional[torch.dtype],
    seed: int,
) -> List[Optional[Tensor]]:
    """Compute the gradients of a random projection of all outputs.

    The sum of the outputs would not do: they are normalized, so that it is constant
    and has a gradient of zero.
    """
    torch.manual_seed(seed)  # the same drop path in both backward modes
    device = image.device.type
    with torch.autocast(device, dtype=amp or torch.bfloat16, enabled=amp is not None):
        outputs = output_list(model(image))
    torch.autograd.backward(
        outputs, [p.to(o.dtype) for o, p in zip(outputs, projections)]
    )
    model.check_overflow()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    return gradients


class GradientErrorProbe:
    """A backbone twice, with equal weights: reversible backward and stored one.

    Args:
        backbone: arguments of the backbone, either class; random weights.
        arithmetic: 'exact' or 'float', of both.
        image_size: height and width in pixels, behind the frames of videos.
        batch: images or videos.
        amp: 'bf16' for autocast, None for fp32.
        seed: of weights, input, projection and drop path.
        device: where to compute.
    """

    def __init__(
        self,
        backbone: Dict[str, Any],
        arithmetic: str = 'exact',
        image_size: Sequence[int] = (224, 224),
        batch: int = 1,
        amp: Optional[str] = None,
        seed: int = 0,
        device: str = 'cpu',
    ) -> None:
        self._amp = AMP_DTYPES[amp] if amp else None
        self._seed = seed
        self._models = []
        with torch.random.fork_rng():
            for backprop in ('reversible', 'stored'):
                torch.manual_seed(seed)
                model = build_backbone(
                    reversible_backbone(
                        backbone,
                        arithmetic=arithmetic,
                        backprop=backprop,
                        alpha=0.5,
                        beta=0.5,
                    )
                )
                with quiet_logger():
                    model.init_weights()
                self._models.append(model.to(device))
            generator = torch.Generator().manual_seed(seed)
            shape = (batch, backbone.get('in_channels', 3), *image_size)
            self._image = torch.randn(shape, generator=generator).to(device)
            with torch.no_grad():
                outputs = output_list(self._models[1](self._image))
            self._projections = [
                torch.randn(output.shape, generator=generator).to(device)
                for output in outputs
            ]

    def measure(self, alpha: float, beta: float) -> Tuple[GradientError, str]:
        """Measure the error at one pair of coefficients, and how it came about.

        Returns:
            The error, and 'ok', 'not finite' (a gradient is inf or nan) or
            'overflow' (the streams leave the fixed-point range: no network there).
        """
        found = []
        with torch.random.fork_rng():
            for model in self._models:
                model.set_coefficients(alpha, beta)
                try:
                    found.append(
                        _gradients(
                            model, self._image, self._projections, self._amp, self._seed
                        )
                    )
                except FixedPointOverflowError:
                    model.zero_grad(set_to_none=True)
                    return GradientError(math.nan, math.nan, math.nan), 'overflow'
        error = compare_gradients(*found)
        return error, 'ok' if math.isfinite(error.relative_error) else 'not finite'
