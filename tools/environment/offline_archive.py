"""The archive of a bundle for a machine without a network, and its manifest."""

import hashlib
import json
import lzma
import os
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict

from offline_packages import ARCHIVE, MANIFEST, BundleError


def store_wheel(wheel: Path) -> None:
    """Write a wheel again with the same files, uncompressed."""
    plain = wheel.with_suffix('.plain')
    with zipfile.ZipFile(str(wheel)) as source:
        with zipfile.ZipFile(str(plain), 'w', zipfile.ZIP_STORED) as target:
            for entry in source.infolist():
                entry_copy = zipfile.ZipInfo(entry.filename, entry.date_time)
                entry_copy.external_attr = entry.external_attr
                target.writestr(entry_copy, source.read(entry))
    plain.replace(wheel)


def pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder into one archive, compressed by xz."""
    filters = [
        {'id': lzma.FILTER_X86},
        {'id': lzma.FILTER_LZMA2, 'preset': 6, 'dict_size': 1 << 26},
    ]
    with lzma.open(str(archive), 'wb', format=lzma.FORMAT_XZ, filters=filters) as file:
        with tarfile.open(fileobj=file, mode='w|') as tar:
            for path in sorted(folder.iterdir()):
                tar.add(str(path), arcname=path.name)


def unpack(archive: Path, folder: str) -> None:
    """Write the packages of a bundle into a folder.

    Raises:
        BundleError: If the archive holds anything but plain files without folders.
    """
    with tarfile.open(str(archive), 'r:xz') as tar:
        members = list(tar)
        if any(not m.isfile() or os.path.basename(m.name) != m.name for m in members):
            raise BundleError(f'{archive} holds paths; make the bundle again')
        tar.extractall(folder, members)


def read_manifest(folder: Path) -> Dict[str, Any]:
    """Read the manifest of a bundle and check its archive.

    Raises:
        BundleError: If the bundle is missing, damaged, or for another Python.
    """
    path, archive = folder / MANIFEST, folder / ARCHIVE
    if not path.is_file() or not archive.is_file():
        raise BundleError(
            f'{folder} holds no {MANIFEST} and {ARCHIVE}; make it with '
            'tools/offline_bundle.sh'
        )
    manifest = json.loads(path.read_text(encoding='utf-8'))
    if hashlib.sha256(archive.read_bytes()).hexdigest() != manifest['sha256']:
        raise BundleError(f'{archive} is damaged; copy it again')
    here = '.'.join(map(str, sys.version_info[:2]))
    if manifest['python'] != here:
        raise BundleError(
            f'the bundle is for Python {manifest["python"]}, this is {here}; set '
            'DR2NET_PYTHON, or make the bundle with --python ' + here
        )
    return manifest
