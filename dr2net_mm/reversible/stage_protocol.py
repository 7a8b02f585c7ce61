"""The call signature of a stage and of what runs in its place."""

from typing import Optional, Protocol, Sequence, Tuple

from torch import Tensor

from .branch import Branch
from .stage_output import StageOutput, Taps


class Stage(Protocol):
    """A callable that runs the residual branches of a stage.

    :class:`~dr2net_mm.reversible.stage.DualResidualStage` is one. Measurements and the
    export replace it with others, see ``DualResidualBackbone.replaced_stages``.
    """

    def __call__(
        self,
        x: Tensor,
        branches: Sequence[Branch],
        alpha: float,
        beta: float,
        stage_output: Optional[StageOutput] = None,
        stored: Optional[Sequence[bool]] = None,
        taps: Optional[Taps] = None,
    ) -> Tuple[Tensor, ...]:
        """Run the branches.

        Args:
            x: Input x_0, floating point, [..., C].
            branches: The residual branches F_1 … F_N, in order.
            alpha: Coefficient α in [0, 1].
            beta: Coefficient β in [0, 1].
            stage_output: Fusion of the streams and the layers behind it.
            stored: For each branch, whether its activations are stored.
            taps: Functions of x_i behind branch i, by i.

        Returns:
            The outputs of the taps, then those of ``stage_output``.
        """
