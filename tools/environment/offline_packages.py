"""What a bundle for a machine without a network is made of.

``offline_bundle.py`` packs it, ``offline_install.py`` installs it. This module uses the
standard library only.
"""

import re
from pathlib import Path
from typing import List, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements' / 'offline.txt'
ARCHIVE, MANIFEST = 'packages.tar.xz', 'manifest.json'

#: Only their sources are published, and running those asks for a build.
SOURCES = ('onedl-mmcv', 'onedl-mmdetection')

#: Installed into the new environment whatever the machine has.
ALWAYS = (*SOURCES, 'onedl-mmengine', 'mmaction2', 'setuptools', 'wheel')


class BundleError(Exception):
    """The bundle cannot be made; the message is one line."""


class Package(NamedTuple):
    """One line of requirements/offline.txt."""

    name: str
    version: str
    group: str


def normal(name: str) -> str:
    """Name of a distribution in the form that pip compares."""
    return re.sub(r'[-_.]+', '-', name).lower()


def read_requirements(path: Path = REQUIREMENTS) -> List[Package]:
    """Read the packages of the list, in order.

    Raises:
        BundleError: If a line is not NAME==VERSION.
    """
    packages, group = [], 'core'
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if line.startswith('# group:'):
            group = line.split(':', 1)[1].strip()
        text = line.split('#', 1)[0].strip()
        if not text:
            continue
        found = re.fullmatch(r'([\w.-]+)==([\w.]+)', text)
        if found is None:
            raise BundleError(f'{path}:{number}: {text!r} is not NAME==VERSION')
        packages.append(Package(normal(found[1]), found[2], group))
    return packages
