"""Build and installation of the package dr2net_mm."""

import runpy
import shutil
from pathlib import Path
from typing import Dict, List, Tuple

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent
VERSIONS = runpy.run_path(str(ROOT / 'dr2net_mm' / 'version.py'))

# What `mim train`, `mim download` and `mim search` look for inside a package.
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml')


def requirements(table: Dict[str, Tuple[str, str]], *names: str) -> List[str]:
    """Return requirement strings of the named (default: all) entries."""
    return [''.join(table[name]) for name in names or table]


class BuildWithMim(build_py):
    """Copy configs and tools into the package's ``.mim`` folder of the build."""

    def run(self) -> None:
        """Build the modules, then add the files that ``mim`` reads."""
        super().run()
        if getattr(self, 'editable_mode', False):
            link_mim()
            return
        target = Path(self.build_lib) / 'dr2net_mm' / '.mim'
        for name in MIM_ENTRIES:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns('__pycache__', '*.pyc')
                shutil.copytree(
                    str(source),
                    str(target / name),
                    ignore=ignored,
                    dirs_exist_ok=True,
                )
            elif source.is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(source), str(target / name))


class DevelopWithMim(develop):
    """Legacy editable installation, which does not run ``build_py``."""

    def run(self) -> None:
        """Link the files that ``mim`` reads, then install."""
        link_mim()
        super().run()


def link_mim() -> None:
    """Link configs and tools into the package of a clone installed in place."""
    folder = ROOT / 'dr2net_mm' / '.mim'
    folder.mkdir(exist_ok=True)
    for name in MIM_ENTRIES:
        link = folder / name
        if not link.exists() and (ROOT / name).exists():
            link.symlink_to(Path('..') / '..' / name)


CORE = VERSIONS['CORE_REQUIREMENTS']
MM = VERSIONS['MM_REQUIREMENTS']
FORK = VERSIONS['FORK_REQUIREMENTS']

setup(
    name='dr2net_mm',
    version=VERSIONS['__version__'],
    description='Memory-efficient finetuning with dual-residual reversible backbones '
    'in MMDetection and MMAction2',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    keywords='computer vision, reversible network, finetuning, OpenMMLab',
    packages=find_packages(include=('dr2net_mm', 'dr2net_mm.*')),
    python_requires=VERSIONS['PYTHON_REQUIRES'],
    # Two stacks have the same import names, so neither can be required here: pip would
    # write one over the other.
    install_requires=requirements(CORE, 'torch')
    + requirements(FORK, 'numpy')
    + requirements(VERSIONS['OWN_REQUIREMENTS']),
    extras_require={
        # MMCV is compiled against one torch, so no extra but `mim` holds it: `mim` of
        # OpenMMLab finds a wheel, tools/environment/build_mmcv.py compiles.
        'openmmlab': requirements(CORE, 'numpy', 'mmengine')
        + requirements(MM, 'mmdet', 'mmaction')
        + requirements(VERSIONS['UNDECLARED_REQUIREMENTS']),
        'onedl': requirements(FORK, 'mmengine', 'mmdet')
        + requirements(MM, 'mmaction')
        + requirements(VERSIONS['FORK_UNDECLARED_REQUIREMENTS'])
        # mmaction2's build of OpenCV lies in the same folder as the other ones.
        + ['opencv-contrib-python<4.13'],
        'mim': requirements(CORE, 'mmengine') + requirements(MM, 'mmcv'),
        'mmdet': requirements(CORE, 'numpy', 'mmengine') + requirements(MM, 'mmdet'),
        'mmaction': requirements(CORE, 'numpy', 'mmengine')
        + requirements(MM, 'mmaction'),
        'mmpretrain': requirements(VERSIONS['EXTRA_REQUIREMENTS'], 'mmpretrain'),
        'rvos': requirements(VERSIONS['EXTRA_REQUIREMENTS'], 'transformers', 'h5py'),
        'lidar': requirements(VERSIONS['EXTRA_REQUIREMENTS'], 'laspy', 'lazrs'),
        # tools/model_converters/export_onnx.py and its check.
        'onnx': ['onnx', 'onnxruntime'],
        'tests': (ROOT / 'requirements' / 'tests.txt').read_text().splitlines(),
    },
    cmdclass={'build_py': BuildWithMim, 'develop': DevelopWithMim},
    zip_safe=False,
)
