"""Import this module to load and save checkpoints safely, see ``prepare_mmengine``.

In a config that ``mim train`` runs::

    custom_imports = dict(imports=['dr2net_mm', 'dr2net_mm.launch.safe'])
"""

from .prepare import prepare_mmengine

prepare_mmengine()
