"""decord's readers in the workers of a dataloader, which are forked."""

import os
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Iterator

from ..optional_imports import module_folder
from .import_hooks import hook_import


def free_only_where_opened(reader_class: Any) -> None:
    """Let readers of ``reader_class`` be freed only by the process that opened them."""
    if hasattr(reader_class, 'frees_only_where_opened'):
        return
    initialize, free = reader_class.__init__, reader_class.__del__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        self._opened_by = os.getpid()
        initialize(self, *args, **kwargs)

    def __del__(self: Any) -> None:
        if self._opened_by == os.getpid():
            free(self)

    reader_class.__init__, reader_class.__del__ = __init__, __del__
    reader_class.frees_only_where_opened = True


@contextmanager
def _cure(decord: ModuleType) -> Iterator[None]:
    yield
    free_only_where_opened(decord.VideoReader)


def let_decord_outlive_fork() -> bool:
    """Keep a forked process from waiting for ever when it frees an inherited reader.

    A ``VideoReader`` of decord 0.6.0 (its last release) decodes in threads, which
    ``fork`` does not copy. Its destructor waits for them. So a worker of a dataloader
    hangs, and the training with it, as soon as its garbage collector meets a reader
    that the main process had opened, such as that of a damaged file in the traceback of
    an error. A worker leaves such a reader alone; its memory ends with the worker.
    """
    if module_folder('decord') is None:
        return False
    if 'decord' in sys.modules:
        free_only_where_opened(sys.modules['decord'].VideoReader)  # type: ignore
    else:
        hook_import('decord', _cure)
    return True
