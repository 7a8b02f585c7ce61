"""Files that are either wholly written or not there."""

import os
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, Union

PARTIAL_SUFFIX = '.partial'


@contextmanager
def atomic_open(
    path: Union[str, Path], mode: str = 'wb', encoding: Union[str, None] = None
) -> Iterator[IO]:
    """Open a file for writing that takes the place of ``path`` when it is complete.

    The data goes to a hidden file in the same folder, reaches the disk, and is renamed;
    on any error the hidden file is removed and ``path`` stays what it was.
    """
    # A link to a file stays a link to that file.
    target = Path(os.path.realpath(str(path)))
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f'.{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL_SUFFIX}')
    try:
        with open(str(partial), mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(str(partial), str(target))
    except BaseException as error:
        if partial.exists():
            partial.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            # Write errors carry no name, and nobody knows that of the hidden file.
            error.filename = str(path)
        raise


def remove_partial_files(folder: Union[str, Path]) -> int:
    """Delete what runs that were killed while writing left in ``folder``."""
    leftovers = list(Path(folder).glob(f'.*{PARTIAL_SUFFIX}'))
    for leftover in leftovers:
        leftover.unlink()
    return len(leftovers)
