"""The ways of finetuning that are compared: a row of the tables each."""

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from dr2net_mm.errors import UserError

Pair = Tuple[float, float]

#: The paper's start and end of (alpha, beta).
START: Pair = (1.0, 0.1)
END: Pair = (0.3, 0.7)


@dataclass(frozen=True)
class Row:
    """One way of finetuning.

    Attributes:
        name: On the command line and in file names.
        title: In tables.
        group: The table or question that it belongs to.
        network: ``'conventional'``, ``'frozen'`` (a conventional backbone that is not
            trained) or ``'dual_residual'``.
        pretrained: Whether training begins with pretrained weights.
        arithmetic: ``'exact'`` or ``'float'``, of a dual-residual network.
        start: (alpha, beta) at the start.
        end: (alpha, beta) at the end, ``start`` where it stays.
        schedule: Other arguments of ``Dr2CoefficientHook``.
    """

    name: str
    title: str
    group: str
    network: str = 'dual_residual'
    pretrained: bool = True
    arithmetic: str = 'exact'
    start: Pair = START
    end: Optional[Pair] = None
    schedule: Tuple[Tuple[str, Any], ...] = ()

    @property
    def fixed(self) -> bool:
        """Whether (alpha, beta) stays where it starts."""
        return self.end is None or self.end == self.start

    def hook(self, end_iter: int) -> Optional[Dict[str, Any]]:
        """Return the config of its ``Dr2CoefficientHook``; None if conventional."""
        if self.network != 'dual_residual':
            return None
        return dict(
            type='Dr2CoefficientHook',
            start=self.start,
            end=self.end or self.start,
            end_iter=1 if self.fixed else end_iter,
            **dict(self.schedule),
        )


def _moving(name: str, title: str, group: str, **changes: Any) -> Row:
    schedule = changes.pop('schedule', {})
    given = dict(start=START, end=END, schedule=tuple(schedule.items()))
    return Row(name, title, group, **{**given, **changes})


MAIN = "the paper's main tables"
ORDER = 'order and shape of the path'
INTERVAL = 'iterations between updates'
NEAR = 'near the pretrained network'

ROWS: Dict[str, Row] = {
    row.name: row
    for row in (
        Row('frozen', 'frozen backbone', MAIN, network='frozen'),
        Row('conventional', 'conventional', MAIN, network='conventional'),
        Row(
            'scratch',
            'reversible, from scratch, (0, 1)',
            MAIN,
            pretrained=False,
            arithmetic='float',
            start=(0.0, 1.0),
        ),
        Row(
            'hard', 'hard finetune, (0, 1)', MAIN, arithmetic='float', start=(0.0, 1.0)
        ),
        Row('vanilla_float', 'vanilla (1, 0.1), float', MAIN, arithmetic='float'),
        Row('vanilla', 'vanilla (1, 0.1), exact', MAIN),
        _moving(
            'dynamic_float', 'dynamic to (0.3, 0.7), float', MAIN, arithmetic='float'
        ),
        _moving('dynamic', 'dynamic to (0.3, 0.7), exact', MAIN),
        Row('line_0.1', 'fixed (0.9, 0.1)', NEAR, start=(0.9, 0.1)),
        Row('line_0.01', 'fixed (0.99, 0.01)', NEAR, start=(0.99, 0.01)),
        Row('fixed_0.01', 'fixed (1, 0.01)', NEAR, start=(1.0, 0.01)),
        _moving(
            'to_pretrained',
            '(1, 0.1) to (1, 0)',
            NEAR,
            end=(1.0, 0.0),
            schedule=dict(monotone=False),
        ),
        _moving(
            'line_to_pretrained',
            '(0.9, 0.1) to (1, 0)',
            NEAR,
            start=(0.9, 0.1),
            end=(1.0, 0.0),
            schedule=dict(order='unit_gain', monotone=False),
        ),
        _moving(
            'line_to_0.5',
            '(0.9, 0.1) to (0.5, 0.5)',
            NEAR,
            start=(0.9, 0.1),
            end=(0.5, 0.5),
            schedule=dict(order='unit_gain'),
        ),
        _moving(
            'line_to_0.7',
            '(0.9, 0.1) to (0.3, 0.7)',
            NEAR,
            start=(0.9, 0.1),
            schedule=dict(order='unit_gain'),
        ),
        _moving(
            'alpha_first', 'alpha first', ORDER, schedule=dict(order='alpha_first')
        ),
        _moving('beta_first', 'beta first', ORDER, schedule=dict(order='beta_first')),
        _moving(
            'exponential', 'exponential', ORDER, schedule=dict(policy='exponential')
        ),
        _moving(
            'logarithmic', 'logarithmic', ORDER, schedule=dict(policy='logarithmic')
        ),
        # The hook's own interval is 2, so that eta = 2 is the row "dynamic".
        _moving('eta_20', 'η = 20', INTERVAL, schedule=dict(interval=20)),
        _moving('eta_100', 'η = 100', INTERVAL, schedule=dict(interval=100)),
    )
}

#: The order of importance in which a queue takes them.
FIRST = (
    'conventional',
    'dynamic',
    'line_0.1',
    'vanilla',
    'vanilla_float',
    'frozen',
    'hard',
    'dynamic_float',
    'line_0.01',
    'scratch',
)


def by_importance(names: Sequence[str]) -> List[str]:
    """Return names of rows, those that answer the main questions first."""
    order = [*FIRST, *(name for name in ROWS if name not in FIRST)]
    return sorted(names, key=order.index)


def row_named(name: str) -> Row:
    """Return the row of a name.

    Raises:
        UserError: If there is none.
    """
    if name not in ROWS:
        raise UserError(f'row {name!r} is unknown; accepted: {", ".join(ROWS)}')
    return ROWS[name]
