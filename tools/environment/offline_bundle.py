"""Pack what a machine without a network needs, in one file that compresses well.

The command is ``tools/offline_bundle.sh``, whose ``--help`` says what it does. Wheels
are stored in the bundle without their own compression and xz then sees the files
themselves: OpenCV's wheel of 50 MB takes 30 MB that way, with the same content.
"""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set

sys.path.insert(0, str(Path(__file__).resolve().parent))

from offline_archive import pack, store_wheel  # noqa: E402 - beside this file
from offline_packages import (  # noqa: E402 - beside this file
    ALWAYS,
    ARCHIVE,
    MANIFEST,
    SOURCES,
    BundleError,
    Package,
    normal,
    read_requirements,
)

#: What a machine with torch, numpy and transformers has because these require it.
ASSUMED = (
    'torch numpy triton transformers filelock fsspec jinja2 markupsafe mpmath networkx '
    'sympy typing-extensions huggingface-hub packaging pyyaml regex safetensors '
    'tokenizers tqdm requests certifi charset-normalizer idna urllib3'
).split()

GLIBC = range(5, 40)

DESCRIPTION = """\
Fetch, on a machine with a network, what this project needs on one without: the OneDL
stack, mmaction2 and what these require, beside a torch and a numpy that are there.
"""

EPILOG = """\
Groups of requirements/offline.txt: core, tests (pytest), scientific (scipy, pillow,
matplotlib), timm, video (decord). The first two are packed unless --groups says
otherwise. torchvision is never packed: it must fit the machine's torch.

A machine that trains has most of this already, and what it has is left out:
  there$ python3 -m pip list --format=freeze > node.txt
  here$  bash tools/offline_bundle.sh --python 3.12 --node-has node.txt --out bundle
Without --node-has it is taken to have torch, numpy, triton, transformers and what these
require, and no more. If it lacks scipy, pillow or matplotlib, one bundle would be too
large, so make two; the installation takes both:
  here$  bash tools/offline_bundle.sh --python 3.12 --out bundle
  here$  bash tools/offline_bundle.sh --python 3.12 --groups scientific --out bundle-2

Then copy the folder and a clone of this repository to that machine:
  there$ bash tools/offline_install.sh bundle

exit codes: 0 packed, 1 a package is missing or the bundle is too large, 2 bad input
"""


def read_node(path: Optional[Path]) -> Set[str]:
    """Read the names of the packages that the machine has.

    Args:
        path: Output of ``pip list --format=freeze``; None for :data:`ASSUMED`.

    Raises:
        BundleError: If the file holds no such lines, or no torch.
    """
    if path is None:
        return set(ASSUMED)
    lines = path.read_text(encoding='utf-8').splitlines()
    names = {
        normal(found[1])
        for found in (re.match(r'\s*([\w.-]+)\s*(==|@)', line) for line in lines)
        if found
    }
    if not {'torch', 'numpy'} <= names:
        raise BundleError(
            f'--node-has {path}: names no torch and numpy; write it on that machine '
            'with: python3 -m pip list --format=freeze > node.txt'
        )
    # Another build of OpenCV gives the same module.
    if any(name.startswith('opencv-') for name in names):
        names.add('opencv-python-headless')
    return names


def select(groups: Sequence[str], node: Set[str]) -> List[Package]:
    """Select what is packed: the groups without what the machine has."""
    return [
        package
        for package in read_requirements()
        if package.group in groups
        and (package.name in ALWAYS or package.name not in node)
    ]


def platforms(machine: str) -> List[str]:
    """Return the platform tags of Linux wheels, newest glibc first."""
    old = (
        ['manylinux2014', 'manylinux2010', 'manylinux1'] if machine == 'x86_64' else []
    )
    old = old or ['manylinux2014']
    tags = [f'manylinux_2_{minor}' for minor in reversed(GLIBC)] + old + ['linux']
    return [f'{tag}_{machine}' for tag in tags]


def pip(*arguments: str, python: str = sys.executable) -> None:
    """Run pip quietly.

    Raises:
        BundleError: With the last error that pip printed.
    """
    command = [python, '-m', 'pip', '--disable-pip-version-check', '--no-input']
    done = subprocess.run(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        output = done.stdout.decode(errors='replace')
        errors = [line for line in output.splitlines() if 'ERROR' in line]
        last = (errors or output.strip().splitlines() or ['no output'])[-1]
        raise BundleError(f'pip {arguments[0]} failed: {last.strip()}')


def fetch(packages: Sequence[Package], python: str, machine: str, out: Path) -> None:
    """Download wheels for the machine, and the sources that have no wheels.

    Raises:
        BundleError: If a package cannot be had.
    """
    wheels = [f'{p.name}=={p.version}' for p in packages if p.name not in SOURCES]
    tags = [argument for tag in platforms(machine) for argument in ('--platform', tag)]
    pip(
        'download', '--no-deps', '--only-binary=:all:', '--implementation', 'cp',
        '--python-version', python, *tags, '--dest', str(out), *wheels,
    )  # fmt: skip
    sources = [f'{p.name}=={p.version}' for p in packages if p.name in SOURCES]
    if not sources:
        return
    # pip looks into a source with setuptools, and the one here may be too old.
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, '-m', 'venv', folder], check=True)
        helper = str(Path(folder) / 'bin' / 'python')
        tools = [f'{p.name}=={p.version}' for p in packages if p.name == 'setuptools']
        pip('install', *tools, 'wheel', 'packaging', python=helper)
        pip(
            'download', '--no-deps', '--no-build-isolation', '--no-binary', ':all:',
            '--dest', str(out), *sources, python=helper,
        )  # fmt: skip


def check_size(archive: Path, sizes: Dict[str, int], limit: float) -> None:
    """Refuse a bundle that is too large.

    Args:
        archive: The packed file.
        sizes: Bytes of each package before packing.
        limit: Megabytes (10^6 bytes).

    Raises:
        BundleError: With the three largest packages.
    """
    size = archive.stat().st_size / 1e6
    if size <= limit:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    named = ', '.join(f'{name} ({sizes[name] / 1e6:.1f} MB)' for name in largest)
    raise BundleError(
        f'the bundle has {size:.1f} MB, more than --max-mb {limit:g}; the largest '
        f'packages, before packing, are {named}; leave out what the machine has with '
        '--node-has, or make one bundle of each of --groups: the installation takes '
        'them together'
    )


def make_bundle(options: argparse.Namespace) -> None:
    """Fetch, pack and describe the bundle.

    Raises:
        BundleError: If a package is missing or the bundle is too large.
    """
    packages = select(options.groups, read_node(options.node_has))
    if options.list:
        for package in packages:
            print(f'{package.name}=={package.version} ({package.group})')
        return
    started = time.monotonic()

    def say(text: str) -> None:
        print(
            f'offline_bundle: {text} [{time.monotonic() - started:.0f} s]', flush=True
        )

    options.out.mkdir(parents=True, exist_ok=True)
    archive = options.out / ARCHIVE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f'fetch {len(packages)} packages for Python {options.python} ...')
        fetch(packages, options.python, options.machine, folder)
        files = sorted(folder.iterdir())
        sizes = {path.name: path.stat().st_size for path in files}
        say(f'pack {sum(sizes.values()) / 1e6:.1f} MB (a minute or more) ...')
        for path in files:
            if path.suffix == '.whl':
                store_wheel(path)
        pack(folder, archive)
    try:
        check_size(archive, sizes, options.max_mb)
    except BundleError:
        archive.unlink()
        raise
    manifest = dict(
        python=options.python,
        machine=options.machine,
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        packages=[package._asdict() for package in packages],
        files=sizes,
    )
    text = json.dumps(manifest, indent=2) + '\n'
    (options.out / MANIFEST).write_text(text, encoding='utf-8')
    say(f'ready: {options.out}, {archive.stat().st_size / 1e6:.1f} MB')


def _python_version(text: str) -> str:
    if not re.fullmatch(r'3\.(1\d)', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not 3.10 or later, like 3.12')
    return text


def _parser() -> argparse.ArgumentParser:
    groups = sorted({package.group for package in read_requirements()})
    parser = argparse.ArgumentParser(
        prog='offline_bundle.sh',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--python',
        required=True,
        type=_python_version,
        metavar='3.X',
        help="version of that machine's Python",
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder to write')
    parser.add_argument(
        '--node-has', type=Path, metavar='FILE', help='what that machine has'
    )
    parser.add_argument(
        '--groups',
        nargs='+',
        choices=groups,
        default=['core', 'tests'],
        metavar='GROUP',
        help=f'which of {", ".join(groups)} (default: core tests)',
    )
    parser.add_argument(
        '--machine', choices=('x86_64', 'aarch64'), default='x86_64', help='processor'
    )
    parser.add_argument(
        '--max-mb', type=float, default=60, metavar='MB', help='limit (default: 60)'
    )
    parser.add_argument(
        '--list', action='store_true', help='say what would be packed, fetch nothing'
    )
    return parser


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.out is None and not options.list:
        parser.error('--out DIR is missing')
    try:
        make_bundle(options)
    except (BundleError, OSError) as error:
        print(f'offline_bundle: error: {error}', file=sys.stderr)
        if options.out and not list(options.out.glob('*')):
            shutil.rmtree(str(options.out), ignore_errors=True)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
