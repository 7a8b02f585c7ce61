"""A network made ready for one way of saving memory."""

from typing import Any, Callable, Optional

from torch import Tensor, nn

from .saved_tensors import PackedTensors


class Variant:
    """A model and how a training step calls it.

    Args:
        model: Holder of all parameters, trained and frozen; in training mode.
        forward: Called with images in place of the model.
        packed: What becomes of the tensors that the graph saves.
        needs_warm_up: Whether the first call prepares the others, by tracing.

    Attributes:
        model: As given.
        needs_warm_up: As given.
    """

    def __init__(
        self,
        model: nn.Module,
        forward: Optional[Callable[[Tensor], Any]] = None,
        packed: Optional[PackedTensors] = None,
        needs_warm_up: bool = False,
    ) -> None:
        self.model = model
        self.needs_warm_up = needs_warm_up
        self._forward = forward or model
        self._packed = packed

    def __call__(self, images: Tensor) -> Any:
        """Run the forward pass."""
        if self._packed is None:
            return self._forward(images)
        with self._packed.of(self.model, images):
            return self._forward(images)

    @property
    def moved_bytes(self) -> int:
        """Bytes that were moved to the host and back since the last restart."""
        return self._packed.moved_bytes if self._packed else 0

    def restart(self) -> None:
        """Forget what was moved."""
        if self._packed:
            self._packed.moved_bytes = 0
