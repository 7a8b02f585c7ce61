"""Path of alpha and beta from their start to their end point."""

import math
from typing import List, Sequence, Tuple

from .coefficients import check_coefficients

ORDERS = ('simultaneous', 'alpha_first', 'beta_first', 'unit_gain')
POLICIES = ('linear', 'exponential', 'logarithmic')

# One decade, which is about what beta spans from 0.1 to 0.7. Chosen: the paper
# names the two curved policies without giving their formulas.
_POLICY_BASE = 10.0

# How far alpha + beta may be from 1 on the line of unit gain.
_LINE_TOLERANCE = 1e-6


class CoefficientSchedule:
    r"""Coefficients of the two residual connections as a function of the step.

    With :math:`\tau` = ``end_step`` and :math:`\eta` = ``interval``, the
    progress at step :math:`t` is

    .. math::
        p(t) = \begin{cases}
            \eta \lfloor t / \eta \rfloor / \tau & t < \tau \\
            1 & t \ge \tau
        \end{cases}

    so values are held between updates, are exactly ``start`` at step 0 and
    exactly ``end`` from step :math:`\tau` on, whether or not :math:`\eta`
    divides :math:`\tau`. Each coefficient is

    .. math::
        c(t) = c_{start} + w(p_c(t)) (c_{end} - c_{start})

    ``order`` says which share of the run a coefficient moves in:

    - ``'simultaneous'``: :math:`p_\alpha = p_\beta = p`;
    - ``'alpha_first'``: alpha moves in the first half of the way to
      :math:`\tau` and beta in the second half,
      :math:`p_\alpha = \min(2p, 1)`, :math:`p_\beta = \max(2p - 1, 0)`;
    - ``'beta_first'``: the same with the two exchanged;
    - ``'unit_gain'``: beta moves with p and :math:`\alpha = 1 - \beta` all along;
      both ends must lie on that line. Without its branches a stream obeys
      :math:`x_i = \alpha x_{i-1} + \beta x_{i-2}`, whose larger root is 1 there, so
      that depth amplifies nothing. In float arithmetic the line is as badly
      conditioned as (1, 0.1), because the other root is :math:`-\beta`.

    ``policy`` is the shape :math:`w`, which maps 0 to 0 and 1 to 1:

    - ``'linear'``: :math:`w(p) = p`;
    - ``'exponential'``: :math:`w(p) = (10^p - 1) / 9`, a slow start and a fast
      end;
    - ``'logarithmic'``: :math:`w(p) = \log_{10}(1 + 9p)`, a fast start and a
      slow end, the inverse function of the exponential one.

    The two halves of an ordered schedule and both curved shapes are
    **chosen**: the paper names them but gives no formula. The shapes bend the
    progress instead of interpolating the values geometrically, because alpha
    or beta may be 0 at an end point.

    A schedule whose ``start`` equals its ``end`` holds that point; at (1, 0.1) it
    is the paper's vanilla finetuning.

    Args:
        start: (alpha, beta) at step 0, both in [0, 1].
        end: (alpha, beta) from ``end_step`` on, both in [0, 1].
        end_step: :math:`\tau`, in steps, at least 1.
        interval: :math:`\eta`, in steps, at least 1. One that is not below
            ``end_step`` makes a single jump at ``end_step``.
        order: ``'simultaneous'``, ``'alpha_first'``, ``'beta_first'`` or
            ``'unit_gain'``.
        policy: ``'linear'``, ``'exponential'`` or ``'logarithmic'``.
        monotone: Require the paper's direction: alpha never increases, beta
            never decreases. ``False`` allows other paths, such as one that
            ends at (1, 0), the pretrained architecture.

    Raises:
        TypeError: If a pair is not two numbers or a count is not an integer.
        ValueError: If a value is outside its range, a name is unknown, an end is not
            on the line that ``order`` asks for, or the direction is not the paper's
            although ``monotone`` is set.

    Source: Dr²Net, Sec. 3.3.2 and Tab. 8 to 12.
    """

    def __init__(
        self,
        start: Sequence[float] = (1.0, 0.1),
        end: Sequence[float] = (0.3, 0.7),
        *,
        end_step: int,
        interval: int = 1,
        order: str = 'simultaneous',
        policy: str = 'linear',
        monotone: bool = True,
    ) -> None:
        self.start = _check_pair('start', start)
        self.end = _check_pair('end', end)
        self.end_step = check_count('end_step', end_step)
        self.interval = check_count('interval', interval)
        self.order = _check_name('order', order, ORDERS)
        self.policy = _check_name('policy', policy, POLICIES)
        self.monotone = monotone
        if order == 'unit_gain':
            _check_on_line('start', self.start)
            _check_on_line('end', self.end)
        if monotone:
            _check_direction(self.start, self.end)

    def coefficients(self, step: int) -> Tuple[float, float]:
        """Return (alpha, beta) of a step, counted from 0.

        Raises:
            ValueError: If ``step`` is negative.
        """
        if step < 0:
            raise ValueError(
                f'step is {step}; steps are counted from 0, so give 0 or more'
            )
        if step >= self.end_step:
            return self.end
        progress = step // self.interval * self.interval / self.end_step
        if self.order == 'unit_gain' and progress > 0:
            beta = self._interpolate(1, progress)
            return 1 - beta, beta
        first, second = min(2 * progress, 1.0), max(2 * progress - 1, 0.0)
        alpha_progress, beta_progress = {
            'simultaneous': (progress, progress),
            'alpha_first': (first, second),
            'beta_first': (second, first),
            'unit_gain': (progress, progress),
        }[self.order]
        return (
            self._interpolate(0, alpha_progress),
            self._interpolate(1, beta_progress),
        )

    def change_points(self) -> List[Tuple[int, float, float]]:
        """Return (step, alpha, beta) of step 0 and of every step that changes one."""
        points = [(0, *self.start)]
        updates = range(self.interval, self.end_step, self.interval)
        for step in [*updates, self.end_step]:
            values = self.coefficients(step)
            if values != points[-1][1:]:
                points.append((step, *values))
        return points

    def _interpolate(self, index: int, progress: float) -> float:
        start, end = self.start[index], self.end[index]
        # Comparing instead of computing keeps the two end values exact.
        if progress <= 0 or start == end:
            return start
        if progress >= 1:
            return end
        value = start + _shape(self.policy, progress) * (end - start)
        return min(max(value, min(start, end)), max(start, end))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(start={self.start}, end={self.end}, '
            f'end_step={self.end_step}, interval={self.interval}, '
            f'order={self.order!r}, policy={self.policy!r}, '
            f'monotone={self.monotone})'
        )


def check_count(name: str, value: int) -> int:
    """Return a whole number of at least 1, or raise naming the argument."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'{name} is {value!r}; give a whole number of at least 1')
    if value < 1:
        raise ValueError(f'{name} is {value}; it must be at least 1')
    return value


def _shape(policy: str, progress: float) -> float:
    if policy == 'exponential':
        return (math.pow(_POLICY_BASE, progress) - 1) / (_POLICY_BASE - 1)
    if policy == 'logarithmic':
        return math.log1p((_POLICY_BASE - 1) * progress) / math.log(_POLICY_BASE)
    return progress


def _check_pair(name: str, pair: Sequence[float]) -> Tuple[float, float]:
    if isinstance(pair, str) or not hasattr(pair, '__len__') or len(pair) != 2:
        raise TypeError(
            f'{name} is {pair!r}; give two numbers (alpha, beta), '
            f'for example {name}=(1.0, 0.1)'
        )
    try:
        return check_coefficients(*pair)
    except (TypeError, ValueError) as error:
        raise type(error)(f'{name} is {pair!r}: {error}') from None


def _check_name(argument: str, value: str, names: Tuple[str, ...]) -> str:
    if value not in names:
        raise ValueError(f'{argument} is {value!r}; choose one of {", ".join(names)}')
    return value


def _check_on_line(name: str, pair: Tuple[float, float]) -> None:
    if abs(sum(pair) - 1) > _LINE_TOLERANCE:
        raise ValueError(
            f"order='unit_gain' keeps alpha at 1 - beta, but {name} is {pair}; give "
            f'{name}=({1 - pair[1]:g}, {pair[1]:g}), or another order'
        )


def _check_direction(start: Tuple[float, float], end: Tuple[float, float]) -> None:
    remedy = 'exchange the values, or set monotone=False if the path is meant'
    if end[0] > start[0]:
        raise ValueError(
            f'alpha rises from {start[0]} to {end[0]}; it must not increase '
            f'over the run: {remedy}'
        )
    if end[1] < start[1]:
        raise ValueError(
            f'beta falls from {start[1]} to {end[1]}; it must not decrease '
            f'over the run: {remedy}'
        )
