"""A warning of setuptools that MMEngine causes."""

import warnings


def silence_pkg_resources() -> bool:
    """Hide a warning that setuptools 67.5 to 81 give when MMEngine looks up a path.

    MMEngine up to 0.10.7 imports and reloads ``pkg_resources`` (MMEngine PR #1676);
    nobody who trains a model can act on it.
    """
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated as an API')
    return True
