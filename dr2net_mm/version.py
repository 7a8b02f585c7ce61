"""The package's version and the versions of other packages that it works with.

``setup.py``, the check at import (:mod:`dr2net_mm.compat`) and the tests read the
ranges from here; ``requirements/*.txt`` repeat them for pip and a test compares.
This module imports nothing, so that ``setup.py`` can run it before anything is
installed.
"""

__version__ = '0.1.0'

PYTHON_REQUIRES = '>=3.8'

# Importable name -> (distribution to install, supported range).
CORE_REQUIREMENTS = {
    'torch': ('torch', '>=2.1'),
    'numpy': ('numpy', '>=1.20,<2'),
    'mmengine': ('mmengine', '>=0.8.0,<1.0.0'),
}

# MMCV is built against one torch version, so pip must not choose it: `mim install`.
MM_REQUIREMENTS = {
    'mmcv': ('mmcv', '>=2.0.0,<2.2.0'),
    'mmdet': ('mmdet', '>=3.1.0,<3.4.0'),
    'mmaction': ('mmaction2', '>=1.1.0,<1.3.0'),
}

# OneDL's maintained forks, under the same import names: they replace the entries above
# where `onedl-mmengine` is installed. MMAction2 has no fork; 1.2.0 is used beside them.
FORK_REQUIREMENTS = {
    'numpy': ('numpy', '>=1.20,<3'),
    'mmengine': ('onedl-mmengine', '>=0.10.12,<0.11'),
    'mmcv': ('onedl-mmcv', '>=2.3.6,<2.4'),
    'mmdet': ('onedl-mmdetection', '>=3.5.1,<3.6'),
}

# Extras that only some configs need.
EXTRA_REQUIREMENTS = {
    # Lidar in LAS files, compressed ones by lazrs: LasDataset.
    'laspy': ('laspy', ''),
    'lazrs': ('lazrs', ''),
    # Image classification: configs/rev_vit.
    'mmpretrain': ('mmpretrain', '>=1.1.0,<1.4.0'),
    # Referring video object segmentation: configs/rvos. Tried with 4.46.3 and 5.24.0.
    'transformers': ('transformers', '>=4.28,<6'),
    'h5py': ('h5py', ''),
}

# What OpenMMLab's packages import without declaring it.
UNDECLARED_REQUIREMENTS = {
    # MMEngine imports pkg_resources, gone from setuptools 82 (MMEngine PR #1676).
    'pkg_resources': ('setuptools', '<81'),
    # mmaction.utils.dependency imports it.
    'importlib_metadata': ('importlib_metadata', ''),
}

# The same of OneDL's, which need no pkg_resources. MMAction2 belongs to both stacks.
FORK_UNDECLARED_REQUIREMENTS = {
    # mmengine.visualization imports it; onedl-mmcv declares opencv-python.
    'cv2': ('opencv-python', '<4.13'),
    'importlib_metadata': ('importlib_metadata', ''),
}

# What this package itself imports beside torch and numpy.
OWN_REQUIREMENTS = {
    'packaging': ('packaging', ''),
}
