"""The questions that the experiments are to answer, answered from the records."""

from typing import List, Optional

from .rows import ROWS
from .statistics import Difference
from .summary import REFERENCE, Summary

QUESTIONS = (
    'Is exact Dr²Net within the noise of conventional finetuning, and at what memory?',
    'Does vanilla (1, 0.1) fail in float and work in exact arithmetic?',
    'Does a near start finetune better, and is a schedule still worth having?',
    "Does the paper's ordering hold?",
)


def answers(summary: Summary) -> List[str]:
    """Return a line for each of the four questions.

    Verdicts come from 95 % confidence intervals of differences between runs with the
    same seed; rows with fewer than three seeds get none.
    """
    found = (_within_noise, _vanilla, _near, _ordering)
    return [
        f'{number}. **{question}** {answer(summary)}'
        for number, (question, answer) in enumerate(zip(QUESTIONS, found), start=1)
    ]


def difference_text(difference: Optional[Difference]) -> str:
    """Write a difference with its interval, for instance ``-0.021 ± 0.010``."""
    if difference is None:
        return '–'
    if difference.half_width is None:
        return f'{difference.mean:+.3f}'
    return f'{difference.mean:+.3f} ± {difference.half_width:.3f}'


def _compared(summary: Summary, row: str, other: str = REFERENCE) -> str:
    """Write ``A against B -0.004 ± 0.010 (3 seeds: no difference …)``."""
    difference = summary.difference(row, other)
    names = f'{ROWS[row].title} against {ROWS[other].title}'
    if difference is None:
        return f'{names}: not run yet'
    seeds = f'{difference.pairs} seed{"s" * (difference.pairs > 1)}'
    return f'{names} {difference_text(difference)} ({seeds}: {difference.verdict})'


def _sentences(parts: List[str]) -> str:
    return '; '.join(parts) + '.'


def _within_noise(summary: Summary) -> str:
    said = [_compared(summary, row) for row in ('dynamic', 'line_0.1', 'line_0.01')]
    if REFERENCE in summary.rows and 'line_0.1' in summary.rows:
        conventional = summary.rows[REFERENCE].peak_bytes
        ours = summary.rows['line_0.1'].peak_bytes
        said.append(
            f'peak of activations {ours / 1e6:.1f} MB against {conventional / 1e6:.1f} '
            f'MB, {conventional / ours:.1f} times less'
        )
    return _sentences(said)


def _vanilla(summary: Summary) -> str:
    said = [
        _compared(summary, 'vanilla_float'),
        _compared(summary, 'vanilla'),
        _compared(summary, 'vanilla', 'vanilla_float'),
    ]
    if 'vanilla_float' in summary.rows:
        error = summary.rows['vanilla_float'].gradient_error('first')
        failed = len(summary.rows['vanilla_float'].failures)
        said.append(f'relative gradient error in float {error_text(error)}')
        if failed:
            said.append(f'{failed} runs in float diverged')
    return _sentences(said)


def _near(summary: Summary) -> str:
    pairs = [
        ('line_0.1', 'vanilla'),
        ('line_0.1', 'dynamic'),
        ('line_0.01', 'line_0.1'),
        ('line_to_0.7', 'line_0.1'),
        ('to_pretrained', 'dynamic'),
    ]
    return _sentences([_compared(summary, *pair) for pair in pairs])


def _ordering(summary: Summary) -> str:
    pairs = [
        ('dynamic', 'hard'),
        ('hard', 'scratch'),
        ('dynamic', 'alpha_first'),
        ('dynamic', 'beta_first'),
        ('dynamic', 'eta_20'),
        ('dynamic', 'eta_100'),
    ]
    return _sentences([_compared(summary, *pair) for pair in pairs])


def error_text(error: Optional[float]) -> str:
    """Write an error in two digits."""
    if error is None:
        return '–'
    return '0' if error == 0 else f'{error:.1e}'
