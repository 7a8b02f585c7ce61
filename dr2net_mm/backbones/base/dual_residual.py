"""Base of every dual-residual backbone."""

import contextlib
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import torch
import torch.utils.checkpoint as cp
from mmengine.model import BaseModule
from torch import Tensor, nn

from dr2net_mm.reversible import (
    Branch,
    DualResidualOptions,
    DualResidualStage,
    Stage,
    StageOutput,
    check_coefficients,
)
from dr2net_mm.reversible.coefficients import BETA_BITS, beta_numerator
from dr2net_mm.reversible.plan import Plan, StageCost, StepCost, make_plan, step_cost
from dr2net_mm.reversible.ratio import Ratio
from dr2net_mm.reversible.stage_output import OutputFunction, Taps
from dr2net_mm.reversible.traced import is_traced

from .coefficient_state import DualResidualState
from .declaration import BackboneDeclaration
from .pretrained import guarded_loading
from .wrapping import check_wrapping

StageType = TypeVar('StageType', bound=Stage)

#: Input sizes whose storage plans are remembered.
MAX_PLANS = 1024


class DualResidualBackbone(BackboneDeclaration, BaseModule):
    """Mixin of a backbone whose stages run as dual-residual networks.

    It comes before the conventional class among the bases of a backbone, which calls
    :meth:`_init_dual_residual` at the end of its ``__init__`` and :meth:`_run_stage`
    for each stage.
    """

    dual_residual: DualResidualState
    dual_residual_options: DualResidualOptions
    init_cfg: Any
    _dual_residual_stages: Sequence[Any]

    #: Whether the first layer of a file is adapted to another number of channels.
    inflate_input = False

    def init_weights(self) -> None:
        """Set the weights: random ones, or those of a file, all of them.

        Raises:
            UserError: If the file does not give the backbone its weights.
        """
        with guarded_loading(self, self.inflate_input):
            super().init_weights()

    def _init_dual_residual(
        self, options: Optional[dict], stages: int, fusions: Sequence[str]
    ) -> None:
        """Set up options, coefficients and stages.

        Args:
            options: The ``dual_residual`` argument of the backbone.
            stages: Number of stages.
            fusions: The fusions that the layers behind the stages can take.

        Raises:
            ValueError: If an option is unknown or out of range.
        """
        made = DualResidualOptions.from_dict(options)
        if made.fusion not in fusions:
            accepted = ' or '.join(map(repr, fusions))
            raise ValueError(
                f'{type(self).__name__} takes fusion {accepted}, got '
                f'{made.fusion!r}: the layers behind a stage have fixed widths.'
            )
        self.dual_residual_options = made
        self.dual_residual = DualResidualState(made.alpha, made.beta)
        self._storage_plans: Dict[Tuple, Plan] = {}
        self._dual_residual_stages = [
            DualResidualStage(f'{type(self).__name__} stage {i + 1}', made)
            for i in range(stages)
        ]

    @property
    def alpha(self) -> float:
        """Current coefficient of the pretrained residual connections."""
        return self.dual_residual.alpha

    @property
    def beta(self) -> float:
        """Current coefficient of the added residual connections."""
        return self.dual_residual.beta

    def set_coefficients(self, alpha: float, beta: float) -> None:
        """Set both coefficients.

        Raises:
            ValueError: If one is outside [0, 1], or β = 0 with a float reversible
                backward pass.
        """
        alpha, beta = check_coefficients(alpha, beta)
        self.dual_residual_options.check_reversible(beta)
        self.dual_residual.alpha, self.dual_residual.beta = alpha, beta

    @property
    def stage_names(self) -> Tuple[str, ...]:
        """Names of the dual-residual stages, as messages call them."""
        return tuple(stage.name for stage in self._dual_residual_stages)

    @contextlib.contextmanager
    def replaced_stages(
        self, make: Callable[[DualResidualStage], StageType]
    ) -> Iterator[List[StageType]]:
        """Temporarily replace the stages with others of the same call signature.

        Args:
            make: Gives for a stage its replacement.
        """
        own = self._dual_residual_stages
        replacements = [make(stage) for stage in own]
        self._dual_residual_stages = replacements
        try:
            yield replacements
        finally:
            self._dual_residual_stages = own

    @property
    def recomputes(self) -> bool:
        """Whether what is computed now is computed again in the backward pass."""
        reversible = self.dual_residual_options.backprop == 'reversible'
        return reversible and torch.is_grad_enabled() and not is_traced()

    @property
    def _chunk(self) -> Union[None, int, str]:
        """Tokens at a time; all of them in a graph that others record."""
        return None if is_traced() else self.dual_residual_options.chunk

    def check_overflow(self) -> None:
        """Raise if a stream of the last forward pass left the fixed-point range.

        Raises:
            FixedPointOverflowError: Naming the stage and the remedy.
        """
        for stage in self._dual_residual_stages:
            stage.monitor.check()

    def remainder_bits(self) -> int:
        """Return the bits that a β-step keeps for each number of a stream."""
        if self.dual_residual_options.arithmetic == 'float':
            return 0
        ratio = Ratio(beta_numerator(self.beta), BETA_BITS)
        return ratio.remainder_width if ratio.numerator else 32

    def _step_costs(
        self, branches: Sequence[Branch], tokens: int, channels: int, branch_bytes: int
    ) -> List[StepCost]:
        """Compute memory and work of each branch of a stage.

        Args:
            branches: The branches that gradients pass.
            tokens: Tokens of the stream, over all samples.
            channels: Channels of a token.
            branch_bytes: Bytes of a number within a branch, 2 under autocast.
        """
        return [
            step_cost(
                tokens,
                channels,
                branch.cost(channels),
                self.remainder_bits(),
                branch.piece_tokens(tokens, channels),
                branch_bytes,
                sum(parameter.numel() for parameter in branch.parameters()),
            )
            for branch in branches
        ]

    def _storage_plan(
        self, key: Tuple, stage_costs: Callable[[], List[StageCost]]
    ) -> Optional[Plan]:
        """Return the plan for inputs of one kind, see ``memory_budget``.

        Args:
            key: What the costs depend on, apart from the coefficients.
            stage_costs: Called where there is no plan for the key yet.
        """
        budget = self.dual_residual_options.memory_budget
        if budget is None or not torch.is_grad_enabled():
            return None
        key = (*key, self.remainder_bits())
        if key not in self._storage_plans:
            if len(self._storage_plans) >= MAX_PLANS:
                self._storage_plans.clear()
            self._storage_plans[key] = make_plan(stage_costs(), budget)
        return self._storage_plans[key]

    def _recomputed(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function; recompute it in a reversible backward pass.

        For ordinary layers outside the stages, such as an embedding. Where activations
        are stored, or no gradient is wanted, it is an ordinary call.
        """
        reversible = self.dual_residual_options.backprop == 'reversible'
        if reversible and torch.is_grad_enabled():
            return cp.checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    def _run_stage(
        self,
        stage: int,
        x: Tensor,
        branches: Sequence[Branch],
        stage_output: OutputFunction,
        output_modules: Sequence[nn.Module],
        plan: Optional[Plan] = None,
        taps: Optional[Taps] = None,
        graph: bool = False,
    ) -> Sequence[Tensor]:
        """Run a stage and return what ``stage_output`` makes of its fused streams.

        The outputs of ``taps`` come first; ``graph`` is that of ``StageOutput``.

        Raises:
            UnsupportedWrapperError: If a wrapper of the model spoils the gradients.
        """
        check_wrapping(self, self.dual_residual_options.backprop == 'reversible')
        return self._dual_residual_stages[stage](
            x,
            branches,
            self.alpha,
            self.beta,
            StageOutput(
                self.dual_residual_options.fusion, stage_output, output_modules, graph
            ),
            None if plan is None else plan[stage],
            taps,
        )


def dual_residual_backbones(model: nn.Module) -> Dict[str, DualResidualBackbone]:
    """Return the dual-residual backbones within a model, by their names in it."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, DualResidualBackbone)
    }
