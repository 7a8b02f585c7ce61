"""Folders of data that a tool makes, and makes anew only if it made them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Callable, Iterator

from dr2net_mm.errors import UserError


def check_replaceable(out: Path) -> None:
    """Refuse to replace a folder that no tool of ours made.

    Raises:
        UserError: if ``out`` is a file or holds something without a ``SOURCE``.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file: name a folder with --out')
    if out.exists() and any(out.iterdir()) and not (out / 'SOURCE').is_file():
        raise UserError(
            f'{out} holds files of something else: name another folder with --out'
        )


def is_complete(
    out: Path, options: object, missing_files: Callable[[Path], list[str]]
) -> bool:
    """Tell whether ``out`` holds the wanted set; says why it is made anew.

    Args:
        out: the folder.
        options: with which it is to be made; its text stands in ``SOURCE``.
        missing_files: names files that a folder lacks.
    """
    if not out.exists():
        return False
    source = out / 'SOURCE'
    if source.is_file() and repr(options) not in source.read_text():
        print(f'{out} was made with other options: made anew')
        return False
    missing = missing_files(out)
    if missing:
        print(f'{out} lacks {len(missing)} files, {missing[0]} first: made anew')
    return not missing


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


def make_folder(out: Path, make: Callable[[Path, Path], str]) -> None:
    """Make a folder beside its place and move it there when it is whole.

    Args:
        out: its place.
        make: fills the folder (first argument), may use another one for what it needs
            (second), and returns the text of ``SOURCE``.
    """
    with replaced_folder(out) as made:
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            (made / 'SOURCE').write_text(make(made, Path(scratch)))
