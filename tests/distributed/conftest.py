"""Runs every test of this folder in two processes that talk over gloo.

A test is an ordinary function with the fixture ``ranks``; its body runs on both ranks,
in ``ranks.py``, and fails where it fails on either. Starting processes takes seconds,
so that the tests of a file share two of them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

import pytest

SCRIPT = Path(__file__).with_name('ranks.py')

# Seconds for the tests of a file; a rank that hangs gives up earlier.
TIMEOUT = 500

_outcomes: Dict[str, Optional[str]] = {}


@pytest.fixture
def ranks() -> None:
    """Stands for the object that the test gets from ``ranks.py``."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    """Report how the test went in the two processes."""
    if pyfuncitem.nodeid not in _outcomes:
        chosen = [
            item for item in pyfuncitem.session.items if item.path == pyfuncitem.path
        ]
        _outcomes.update(run(pyfuncitem.path, chosen))
    failure = _outcomes[pyfuncitem.nodeid]
    if failure is not None:
        if failure.startswith('skip: '):
            pytest.skip(failure[6:])
        pytest.fail(failure, pytrace=False)
    return True


def run(path: Path, items: List[pytest.Function]) -> Dict[str, Optional[str]]:
    """What became of the tests of one file: None, or what to say of a failure."""
    outcomes: Dict[str, Optional[str]] = {}
    while len(outcomes) < len(items):
        left = [item for item in items if item.nodeid not in outcomes]
        found = run_once(path, left)
        # Where a rank fails the other may wait for it for ever: both are started
        # again for the tests behind it.
        outcomes.update(found)
    return outcomes


def run_once(path: Path, items: List[pytest.Function]) -> Dict[str, Optional[str]]:
    """The tests up to and including the first that fails."""
    request = [
        dict(
            id=item.nodeid,
            function=item.originalname,
            arguments=item.callspec.params if hasattr(item, 'callspec') else {},
        )
        for item in items
    ]
    try:
        done = subprocess.run(
            [sys.executable, str(SCRIPT), str(path)],
            input=json.dumps(request),
            capture_output=True,
            timeout=TIMEOUT,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        return {items[0].nodeid: f'no answer within {TIMEOUT} s:\n{error.stderr}'}
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {items[0].nodeid: f'no outcome:\n{done.stdout}\n{done.stderr}'}
    return found
