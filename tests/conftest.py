"""Fixtures that every test of the repository may use."""

import os

# Tests run in as many processes as there are cores, with a thread each; threads that
# wait for one another sleep. It must be set before torch is imported.
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import logging  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Iterator, List  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

# Tests save and load as tools/train.py does.
import dr2net_mm.launch.safe  # noqa: E402, F401

# Fixtures that several folders share.
pytest_plugins = [
    'tests.fixtures.config_text',
    'tests.fixtures.mttr',
    'tests.fixtures.rev',
    'tests.fixtures.videomae',
]


TESTS = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list) -> None:
    """Begin with what takes longest; skip tests marked ``cuda`` without a GPU.

    Modules that train in processes of their own come first, so that the processes of
    the suite end together.
    """
    slow = tuple(str(TESTS / folder) for folder in ('tools', 'distributed'))
    items.sort(key=lambda item: not str(item.path).startswith(slow))
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason='no CUDA device on this machine')
    for item in items:
        if 'cuda' in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def fresh_logger() -> Iterator[None]:
    """Forget MMEngine's loggers after a test: they hold its captured streams."""
    yield
    loggers = sys.modules.get('mmengine.logging')
    if loggers is not None:
        loggers.MMLogger._instance_dict.clear()


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log_lines() -> Iterator[List[str]]:
    """Messages that MMEngine's current logger takes during a test."""
    from mmengine.logging import MMLogger

    logger, handler = MMLogger.get_current_instance(), _Lines()
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)
