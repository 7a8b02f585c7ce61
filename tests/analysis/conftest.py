"""What the tests of the analysis tools share."""

import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def help_of() -> Callable[[Path], str]:
    """Text that a tool prints for ``--help``, run from the root of the repository."""

    def run(tool: Path) -> str:
        command = [sys.executable, str(tool), '--help']
        return subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
        ).stdout

    return run
