"""Make an environment from a bundle, on a machine without a network.

The command is ``tools/offline_install.sh``, whose ``--help`` says what it does. It uses
the standard library only: nothing else may be there yet.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from offline_archive import read_manifest, unpack  # noqa: E402 - beside this file
from offline_packages import (  # noqa: E402 - beside this file
    ALWAYS,
    ARCHIVE,
    ROOT,
    BundleError,
    normal,
    read_requirements,
)

DESCRIPTION = """\
Make a Python environment from a bundle of tools/offline_bundle.sh. It stands on top of
the Python that runs this: torch, numpy and whatever else is there are used as they are,
and only what is missing is installed. MMCV is compiled: for the GPU where there is
nvcc and a torch for CUDA, otherwise for the CPU.
"""

EPILOG = """\
Example:
  bash tools/offline_install.sh bundle --env ~/dr2net-env
  . ~/dr2net-env/bin/activate
  bash tools/gpu_report.sh --list

exit codes: 0 ready, 1 a step failed (its log is named), 2 bad input
"""

#: What keeps pip from looking anywhere but into the bundle.
OFFLINE = dict(PIP_NO_INDEX='1', PIP_CONSTRAINT='', PIP_EXTRA_INDEX_URL='')

#: Imported at the end, in this order, so that the first gap is named.
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import torch, mmengine, dr2net_mm, mmcv.ops
import mmdet.models, mmdet.datasets, mmaction.models, mmaction.datasets
from mmcv.ops import get_compiling_cuda_version
print('torch', torch.__version__, '- operators of mmcv for CUDA',
      get_compiling_cuda_version())
"""


class Install:
    """The steps of one installation, with their output in a log.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.env: Path = options.env.absolute()
        self.python = str(self.env / 'bin' / 'python')
        self.log = Path(f'{self.env}.log')
        self._there: Optional[Set[str]] = None

    def step(self, what: str, *command: str, **environment: str) -> str:
        """Run a command; return what it printed.

        Raises:
            BundleError: If it fails, with the name of the log.
        """
        print(f'offline_install: {what} ...', flush=True)
        started = time.monotonic()
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output = done.stdout.decode(errors='replace')
        with self.log.open('a', encoding='utf-8') as log:
            log.write(f'+ {" ".join(command)}\n{output}')
        if done.returncode:
            print('\n'.join(output.splitlines()[-15:]), file=sys.stderr)
            raise BundleError(f'{what} failed; the whole log is {self.log}')
        seconds = time.monotonic() - started
        print(f'offline_install: {what}: done in {seconds:.0f} s', flush=True)
        return output

    def pip(self, what: str, *arguments: str, **environment: str) -> str:
        """Run pip of the new environment, which looks into the bundle only."""
        return self.step(
            what, self.python, '-m', 'pip', '--disable-pip-version-check', *arguments,
            **OFFLINE, **environment,
        )  # fmt: skip

    def make_environment(self) -> None:
        """Make an environment that sees what the running Python sees."""
        self.step('make the environment', sys.executable, '-m', 'venv', '--clear',
                  '--without-pip', '--system-site-packages', str(self.env))  # fmt: skip
        # Where that Python is itself of a venv, --system-site-packages means those of
        # the Python behind it, so the folders are named.
        found = self._run('import sys; print("\\n".join(sys.path[1:]))').splitlines()
        own = [p for p in sys.path[1:] if p.endswith(('-packages',)) and p not in found]
        (site,) = (self.env / 'lib').glob('python3.*/site-packages')
        if own:
            text = '\n'.join(own) + '\n'
            (site / 'packages_of_the_machine.pth').write_text(text, encoding='utf-8')
        if subprocess.call(
            [self.python, '-c', 'import pip'], stderr=subprocess.DEVNULL
        ):
            self.step('add pip', self.python, '-m', 'ensurepip')

    def _run(self, code: str, *arguments: str) -> str:
        done = subprocess.run(
            [self.python, '-c', code, *arguments], stdout=subprocess.PIPE, check=True
        )
        return done.stdout.decode()

    def there(self) -> Set[str]:
        """Return the names of the distributions that the new environment sees."""
        if self._there is None:
            found = self._run(
                'import importlib.metadata as m\n'
                'for d in m.distributions(): print(d.metadata["Name"])'
            )
            self._there = {normal(name) for name in found.split()}
            # Another build of OpenCV gives the same module.
            if any(name.startswith('opencv-') for name in self._there):
                self._there.add('opencv-python-headless')
        return self._there

    def missing(self, packages: Sequence[Dict[str, str]]) -> List[str]:
        """Return the requirements of the bundle that the machine does not meet."""
        names = self.there()
        return [
            f'{package["name"]}=={package["version"]}'
            for package in packages
            if package['name'] in ALWAYS or package['name'] not in names
        ]

    def cuda_architectures(self) -> Optional[str]:
        """Return the architectures to compile MMCV for; None for the CPU."""
        asked = self.options.cuda_arch
        if asked == 'none':
            return None
        nvcc = shutil.which('nvcc') or os.path.exists('/usr/local/cuda/bin/nvcc')
        found = self._run(
            'import torch\n'
            'print(torch.version.cuda or "")\n'
            'c = torch.cuda.is_available() and torch.cuda.get_device_capability()\n'
            'print("%d.%d" % c if c else "")'
        ).split('\n')
        reason = None
        if not nvcc:
            reason = 'there is no nvcc'
        elif not found[0]:
            reason = 'the torch that is there is not for CUDA'
        elif not (asked or found[1]):
            reason = 'torch finds no GPU to compile for (--cuda-arch 9.0 names one)'
        if reason is None:
            return asked or found[1]
        if asked:
            raise BundleError(f'--cuda-arch {asked}: {reason}')
        print(f'offline_install: mmcv gets operators for the CPU only: {reason}')
        return None

    def build_mmcv(self, requirement: str, packages: Path) -> None:
        """Compile MMCV from its source and install it."""
        architectures = self.cuda_architectures()
        jobs = str(self.options.jobs or os.cpu_count() or 1)
        wheels = packages / 'built'
        kind = f'CUDA ({architectures})' if architectures else 'the CPU'
        arch = ('--cuda-arch', architectures) if architectures else ()
        # ninja may be a package that brings its program along.
        path = f'{self.env / "bin"}{os.pathsep}{os.environ.get("PATH", "")}'
        builder = str(Path(__file__).with_name('build_mmcv.py'))
        self.step(
            f'compile mmcv for {kind}, {jobs} processes', self.python, builder,
            requirement, *arch, '--out', str(wheels), **OFFLINE, MAX_JOBS=jobs,
            PIP_FIND_LINKS=str(packages), PATH=path,
        )  # fmt: skip
        (wheel,) = wheels.glob('*mmcv*.whl')
        self.pip(
            'install mmcv', 'install', '--no-deps', '--force-reinstall', str(wheel)
        )

    def run(self, bundles: Sequence[Tuple[Dict[str, Any], Path]]) -> None:
        """Run everything from the unpacking to the check.

        Args:
            bundles: Manifest and archive of each.

        Raises:
            BundleError: If something is missing, or a step fails.
        """
        self.env.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text('', encoding='utf-8')
        self.make_environment()
        packed = [p for manifest, _ in bundles for p in manifest['packages']]
        wanted = self.missing(packed)
        self.check_complete(wanted)
        with tempfile.TemporaryDirectory() as name:
            for _, archive in bundles:
                unpack(archive, name)
            there = len(packed) - len(wanted)
            print(f'offline_install: {len(wanted)} packages to install, {there} there')
            mmcv = [text for text in wanted if text.startswith('onedl-mmcv==')]
            sources = [text for text in wanted if text.startswith('onedl-mmdet')]
            wheels = [text for text in wanted if text not in (*mmcv, *sources)]
            install = ('install', '--no-deps', '--no-build-isolation')
            links = dict(PIP_FIND_LINKS=name)
            self.pip('install wheels', *install, *wheels, **links)
            self.pip('build mmdet', *install, *sources, **links)
            self.build_mmcv(mmcv[0], Path(name))
        found = self.step('import everything', self.python, '-c', CHECK, str(ROOT))
        print(f'offline_install: {found.strip().splitlines()[-1]}')
        (site,) = (self.env / 'lib').glob('python3.*/site-packages')
        (site / 'dr2net_mm_clone.pth').write_text(f'{ROOT}\n', encoding='utf-8')
        print(f'offline_install: ready: . {self.env}/bin/activate')

    def check_complete(self, wanted: Sequence[str]) -> None:
        """Refuse to start without something that is neither there nor packed.

        Raises:
            BundleError: With the names and the groups that hold them.
        """
        needed = [p for p in read_requirements() if p.group in ('core', 'scientific')]
        packed = {text.split('==')[0] for text in wanted}
        lacking = [
            p for p in needed if p.name not in packed and self.missing([p._asdict()])
        ]
        if lacking:
            groups = ' '.join(sorted({p.group for p in lacking}))
            raise BundleError(
                f'the machine lacks {", ".join(p.name for p in lacking)}, which no '
                f'bundle holds; make another one with --groups {groups}'
            )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(
        prog='offline_install.sh',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        'bundle', nargs='+', type=Path, help='folder of a bundle; several make one'
    )
    parser.add_argument(
        '--env',
        type=Path,
        default=ROOT / '.venv-offline',
        help='folder of the environment (default: .venv-offline in the clone)',
    )
    parser.add_argument(
        '--cuda-arch',
        metavar='LIST',
        help="compute capabilities for mmcv, like 9.0 or '8.0;9.0'; none for the CPU "
        '(default: that of the GPU)',
    )
    parser.add_argument(
        '--jobs', type=int, metavar='N', help='processes that compile (default: cores)'
    )
    options = parser.parse_args(arguments)
    try:
        if options.env.exists() and not (options.env / 'pyvenv.cfg').exists():
            raise BundleError(
                f'--env {options.env} is a folder with other things; name a new one'
            )
        bundles = [(read_manifest(b), b / ARCHIVE) for b in options.bundle]
        Install(options).run(bundles)
    except (BundleError, OSError) as error:
        print(f'offline_install: error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
