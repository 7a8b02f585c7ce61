"""The questions answered in a line each, for all tasks: the first lines of the page."""

from typing import Callable, List, Sequence

from .answers import QUESTIONS, difference_text, error_text
from .rows import ROWS
from .summary import REFERENCE, Summary


def headlines(summaries: Sequence[Summary]) -> List[str]:
    """Return a line for each question, with a few words for each task that was run.

    A difference is against conventional training where nothing else is named. The whole
    answers stand in the sections of the tasks.
    """
    parts: Sequence[Callable[[Summary], List[str]]] = (
        _within_noise,
        _vanilla,
        _near,
        _ordering,
    )
    return [
        f'{number}. **{question}** '
        + ' '.join(
            f'*{summary.task.title.split(":")[0]}:* '
            f'{"; ".join(part(summary)) or "not run yet"}.'
            for summary in summaries
        )
        for number, (question, part) in enumerate(zip(QUESTIONS, parts), start=1)
    ]


def _brief(summary: Summary, *pairs: Sequence[str]) -> List[str]:
    """Write the differences of pairs of rows; those that were not run are left out."""
    said = []
    for row, other in pairs:
        difference = summary.difference(row, other)
        if difference is None:
            continue
        against = '' if other == REFERENCE else f' against {ROWS[other].title}'
        said.append(
            f'{ROWS[row].title}{against} {difference_text(difference)} '
            f'({difference.verdict})'
        )
    return said


def _within_noise(summary: Summary) -> List[str]:
    said = _brief(summary, ('dynamic', REFERENCE), ('line_0.1', REFERENCE))
    if REFERENCE in summary.rows and 'line_0.1' in summary.rows:
        conventional = summary.rows[REFERENCE].peak_bytes
        ours = summary.rows['line_0.1'].peak_bytes
        said.append(f'{conventional / ours:.1f} times less memory of activations')
    return said


def _vanilla(summary: Summary) -> List[str]:
    said = _brief(summary, ('vanilla_float', REFERENCE), ('vanilla', REFERENCE))
    if 'vanilla_float' in summary.rows:
        row = summary.rows['vanilla_float']
        error = error_text(row.gradient_error('first'))
        said.append(f'gradient error in float {error}')
        if row.failures:
            said.append(f'{len(row.failures)} runs in float diverged')
    return said


def _near(summary: Summary) -> List[str]:
    return _brief(summary, ('line_0.1', 'vanilla'), ('line_0.1', 'dynamic'))


def _ordering(summary: Summary) -> List[str]:
    return _brief(
        summary,
        ('dynamic', 'hard'),
        ('hard', 'scratch'),
        ('dynamic', 'alpha_first'),
        ('dynamic', 'beta_first'),
    )
