"""Sphinx: the pages of this folder and an API reference made of the docstrings."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dr2net_mm.version import __version__  # noqa: E402

project = 'dr2net_mm'
copyright = 'the authors of dr2net_mm'  # noqa: A001
release = version = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']
myst_heading_anchors = 4

html_theme = 'furo'
html_title = f'dr2net_mm {__version__}'

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_default_options = {'members': True, 'show-inheritance': True}
napoleon_use_ivar = True
napoleon_use_rtype = False


def name_files_outside(app, page, source):
    """Write links to files outside this folder as their path in the repository."""
    source[0] = re.sub(r'\[([^\]]+)\]\(\.\./([^)]+)\)', r'\1 (`\2`)', source[0])


def setup(app):
    """Register what Sphinx calls back."""
    app.connect('source-read', name_files_outside)
