"""MMAction2's models beside a ``transformers`` that one of them was not written for."""

import sys
import types
from typing import Any

from mmengine.registry import MODELS

from ..optional_imports import module_folder

#: What mmaction's VindLU imports from ``transformers.modeling_utils``, as one of four.
_NEEDED = 'apply_chunking_to_forward'
_PACKAGE = 'mmaction.models.multimodal.vindlu'
_MODELS = ('VindLURetrieval', 'VindLURetrievalMC', 'VindLUVQA')


class MissingVindLU:
    """Stand-in for mmaction's VindLU, which needs an older ``transformers``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError(
            'VindLU of mmaction2 1.2.0 cannot import this release of transformers; '
            "pip install 'transformers>=4.28,<4.47' to use it"
        )


def leave_out_vindlu() -> bool:
    """Let ``mmaction.models`` be imported beside ``transformers`` 5.

    mmaction2 1.2.0 imports its VindLU wherever ``transformers`` is installed, and that
    imports names which later releases of ``transformers`` removed, so that no model of
    mmaction can be used. Applies only where one of the names is gone.
    """
    mmaction, transformers = map(module_folder, ('mmaction', 'transformers'))
    if mmaction is None or transformers is None or _PACKAGE in sys.modules:
        return False
    try:
        source = (transformers / 'modeling_utils.py').read_text(encoding='utf-8')
    except OSError:
        return False
    if _NEEDED in source:
        return False
    package = types.ModuleType(_PACKAGE)
    package.__all__ = []  # type: ignore[attr-defined]
    sys.modules[_PACKAGE] = package
    for name in _MODELS:
        # Scopes look into the root registry for what they do not have.
        MODELS.register_module(name=name, module=MissingVindLU, force=True)
    return True
