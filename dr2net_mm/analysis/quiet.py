"""What other packages say that means nothing for a measurement."""

import contextlib
import warnings
from typing import Iterator

from mmengine.logging import MMLogger


def ignore_known_warnings() -> None:
    """Leave out warnings that say nothing about what is measured."""
    # Random or measured networks: how accurate float arithmetic is matters elsewhere.
    warnings.filterwarnings('ignore', message='float arithmetic at')
    # mmdet and mmaction leave use_reentrant of checkpoint, and indexing, unsaid.
    warnings.filterwarnings('ignore', message='.*(use_reentrant|meshgrid)')


@contextlib.contextmanager
def quiet_logger() -> Iterator[None]:
    """Silence mmdet's warning that random weights are random."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        yield
    finally:
        logger.setLevel(level)
