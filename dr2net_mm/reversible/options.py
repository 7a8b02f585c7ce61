"""Everything that a user can choose about a dual-residual network."""

import warnings
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Union

from .coefficients import check_coefficients

ARITHMETICS = ('exact', 'float')
BACKPROPS = ('reversible', 'stored')
FUSIONS = ('last', 'mean', 'concat', 'concat_yx')


@dataclass(frozen=True)
class DualResidualOptions:
    """Options of a dual-residual backbone: ``dual_residual=dict(...)`` in a config.

    Args:
        alpha: Coefficient of the pretrained residual connections, in [0, 1].
        beta: Coefficient of the added residual connections, in [0, 1].
        arithmetic: ``'exact'`` keeps the two streams as int32 fixed-point numbers
            and reconstructs them bit for bit; ``'float'`` is the arithmetic of the
            paper, whose reconstruction error grows with depth.
        backprop: ``'reversible'`` discards activations in the forward pass and
            reconstructs them in the backward pass; ``'stored'`` is ordinary
            autograd on the same arithmetic.
        fusion: What a stage returns of its streams ``(x_N, y_N)``: ``'last'`` is
            ``x_N`` (the only choice that is the pretrained network at (1, 0)),
            ``'mean'`` is ``(x_N + y_N) / 2`` (Re2TAL), ``'concat'`` joins them in
            the channel dimension as ``[x_N, y_N]``, and ``'concat_yx'`` as
            ``[y_N, x_N]``, the order of the published Rev-ViT weights.
        fraction_bits: Fixed-point streams count in units of ``2**-fraction_bits``;
            their range is ``±2**(31 - fraction_bits)``.
        chunk: How many tokens a residual branch is evaluated on at a time:
            ``'auto'``, a number, or None for all of them at once. Fewer tokens
            take less memory and, below some thousand, more time.
        memory_budget: How much memory the backbone's activations may take: bytes (an
            int), or a share of conventional training (a float in (0, 1]). Steps whose
            activations fit are stored, which saves time; the rest is reconstructed.
            None stores nothing. Gradients do not depend on it.
        verify: Compare a checksum of every reconstructed stream with the one taken
            in the forward pass and name the first that differs. For debugging:
            it costs a pass over memory and a synchronization at every branch.

    Raises:
        ValueError: If a value is outside its range, or two exclude each other.
    """

    alpha: float = 1.0
    beta: float = 0.1
    arithmetic: str = 'exact'
    backprop: str = 'reversible'
    fusion: str = 'last'
    fraction_bits: int = 16
    chunk: Union[None, int, str] = 'auto'
    memory_budget: Union[None, int, float] = None
    verify: bool = False

    def __post_init__(self) -> None:
        check_coefficients(self.alpha, self.beta)
        for name, value, choices in (
            ('arithmetic', self.arithmetic, ARITHMETICS),
            ('backprop', self.backprop, BACKPROPS),
            ('fusion', self.fusion, FUSIONS),
        ):
            if value not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {value!r}.')
        if not isinstance(self.fraction_bits, int) or not 1 <= self.fraction_bits <= 24:
            raise ValueError(
                'fraction_bits must be an integer from 1 to 24, got '
                f'{self.fraction_bits!r}. 16 (range ±32768, step 1.5e-5) fits '
                'pretrained Swin and ViT backbones.'
            )
        chunk = self.chunk
        positive = isinstance(chunk, int) and not isinstance(chunk, bool) and chunk > 0
        if not (chunk is None or chunk == 'auto' or positive):
            raise ValueError(
                "chunk must be 'auto', None or a positive number of tokens, got "
                f'{chunk!r}.'
            )
        self._check_budget()
        self.check_reversible(self.beta)
        if self.verify and self.arithmetic == 'float':
            raise ValueError(
                "verify=True needs arithmetic='exact': float reconstruction never "
                'is bit-exact. tools/analysis/gradient_error.py measures its error.'
            )

    def _check_budget(self) -> None:
        budget = self.memory_budget
        if budget is None:
            return
        share = isinstance(budget, float) and 0 < budget <= 1
        count = isinstance(budget, int) and not isinstance(budget, bool) and budget >= 0
        if not (share or count):
            raise ValueError(
                'memory_budget must be None, a number of bytes (int) or a share of '
                f'conventional training (float in (0, 1]), got {budget!r}.'
            )
        if self.backprop == 'stored':
            raise ValueError(
                "memory_budget needs backprop='reversible': backprop='stored' keeps "
                'every activation.'
            )

    def check_reversible(self, beta: float) -> None:
        """Raise a ValueError where ``beta`` leaves nothing to reconstruct from."""
        if beta == 0 and self.arithmetic == 'float' and self.backprop == 'reversible':
            raise ValueError(
                "beta = 0 cannot be reversed with arithmetic='float' "
                '(x = y / beta). Use a beta of at least 0.1, or '
                "arithmetic='exact', or backprop='stored'."
            )

    @classmethod
    def from_dict(cls, options: Optional[Dict[str, Any]]) -> 'DualResidualOptions':
        """Make options from a config dictionary and name keys that do not exist."""
        options = dict(options or {})
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(
                f'dual_residual has no option {", ".join(map(repr, unknown))}; '
                f'its options are {", ".join(known)}.'
            )
        made = cls(**options)
        if made.arithmetic == 'float' and made.backprop == 'reversible':
            if made.alpha > 0.7 and 0 < made.beta < 0.4:
                warnings.warn(
                    f'float arithmetic at (alpha, beta) = ({made.alpha}, {made.beta}) '
                    'reconstructs deep backbones with large errors; see '
                    "tools/analysis/gradient_error.py. arithmetic='exact' has none.",
                    stacklevel=2,
                )
        return made
