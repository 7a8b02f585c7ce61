"""Build a wheel of MMCV with its operators from source, in a minute for the CPU.

    python build_mmcv.py mmcv==2.1.0 --out wheels
    python build_mmcv.py onedl-mmcv==2.3.6 --cuda-arch 9.0 --out wheels

MMCV's operators are 77 small C++ files. Each of them includes all of torch's headers,
which takes the compiler ten seconds, for about one second of code. This script compiles
the same files in six translation units (a "unity build"), without debug information
and with ``-O1``. Nothing is left out of the package. It needs torch, setuptools, wheel
and ninja in the running Python, and a C++ compiler. The distribution may also be
OneDL's fork, ``onedl-mmcv``, whose sources have the same layout. With ``--cuda-arch``
the operators are compiled for GPUs too, by nvcc and as MMCV's own ``setup.py`` does it.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Dict, List, Optional

SOURCES = Path('mmcv/ops/csrc/pytorch')
# Files of the folder cpu/ that define a function or a macro which another file of it
# defines too, and the unit that each is compiled in.
SEPARATED = {
    'roi_align.cpp': 'separate_1',
    'psamask.cpp': 'separate_1',
    'roi_align_rotated.cpp': 'separate_2',
    'rotated_feature_align.cpp': 'separate_3',
}
# It defines the macros `min` and `max`, so nothing may follow it.
LAST = 'psamask.cpp'
# Added to Python's own flags, which ask for debug information and -O3.
FLAGS = '-g0 -O1'


def translation_units(sources: Path) -> Dict[str, List[str]]:
    """Name of each unit and the files that it includes, relative to ``sources``."""
    units: Dict[str, List[str]] = {}
    for path in sorted(sources.glob('*.cpp')):
        # The bindings take as long as all other files of the folder.
        unit = 'bindings' if path.name == 'pybind.cpp' else 'operators'
        units.setdefault(unit, []).append(path.name)
    cpu = (sources / 'cpu').glob('*.cpp')
    for path in sorted(cpu, key=lambda path: (path.name == LAST, path.name)):
        unit = SEPARATED.get(path.name, 'cpu')
        units.setdefault(unit, []).append(f'cpu/{path.name}')
    return units


def unite(sources: Path) -> List[str]:
    """Replace the C++ files of MMCV's operators by a few that include them.

    ``setup.py`` compiles every ``*.cpp`` it finds, so the originals get the ending
    ``.inc``. Returns the names of the new files.

    Raises:
        ValueError: If the folder holds no such files.
    """
    units = translation_units(sources)
    if not {'bindings', 'operators', 'cpu'} <= units.keys():
        raise ValueError(
            f'{sources} must hold pybind.cpp, operators and a folder cpu of MMCV, '
            f'found only {sorted(units) or "nothing"}'
        )
    for files in units.values():
        for name in files:
            (sources / name).rename(sources / f'{name}.inc')
    for unit, files in units.items():
        lines = [f'#include "{name}.inc"\n' for name in files]
        (sources / f'unit_{unit}.cpp').write_text(''.join(lines))
    return [f'unit_{unit}.cpp' for unit in units]


def pip(*arguments: str) -> None:
    """Run pip of this Python without build isolation: the build needs its torch."""
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    options = ['--no-input', '--no-deps', '--no-build-isolation']
    subprocess.run([*command, arguments[0], *options, *arguments[1:]], check=True)


def build(requirement: str, out: Path, cuda_arch: Optional[str] = None) -> Path:
    """Fetch the source of ``requirement`` and build its wheel.

    Args:
        requirement: Of pip, with a version.
        out: Folder of the wheel.
        cuda_arch: Compute capabilities as in ``TORCH_CUDA_ARCH_LIST``; None for the
            CPU alone.

    Returns:
        The wheel.
    """
    os.environ.setdefault('MAX_JOBS', str(len(os.sched_getaffinity(0))))
    os.environ['MMCV_WITH_OPS'] = '1'
    if cuda_arch:
        os.environ.update(FORCE_CUDA='1', TORCH_CUDA_ARCH_LIST=cuda_arch)
    else:
        os.environ.update(FORCE_CUDA='0', CUDA_VISIBLE_DEVICES='')
        for variable in ('CFLAGS', 'CXXFLAGS'):
            os.environ[variable] = f'{os.environ.get(variable, "")} {FLAGS}'.strip()
    before = set(out.glob('*.whl'))
    with tempfile.TemporaryDirectory() as folder:
        pip('download', '--no-binary', ':all:', '--dest', folder, requirement)
        (archive,) = Path(folder).glob('*.tar.gz')
        with tarfile.open(archive) as source:
            source.extractall(folder)
        (root,) = (path for path in Path(folder).iterdir() if path.is_dir())
        if not cuda_arch:
            unite(root / SOURCES)
        pip('wheel', '--wheel-dir', str(out), str(root))
    (wheel,) = set(out.glob('*.whl')) - before or before
    return wheel


def main() -> None:
    """Parse the command line, build, and print where the wheel is."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('requirement', help='mmcv==2.1.0 or onedl-mmcv==2.3.6')
    parser.add_argument('--out', type=Path, required=True, help='folder of the wheel')
    parser.add_argument(
        '--cuda-arch',
        metavar='LIST',
        help="compute capabilities to compile for too, like 9.0 or '8.0;9.0'",
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    print(build(arguments.requirement, out, arguments.cuda_arch))


if __name__ == '__main__':
    main()
