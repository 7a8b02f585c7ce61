"""Changes in MMEngine that make saving and loading checkpoints safe."""

from dr2net_mm.checkpoints.atomic_write import register_atomic_backend
from dr2net_mm.checkpoints.safe_load import secure_mmengine
from dr2net_mm.checkpoints.sharded_optimizer import consolidate_before_saving


def prepare_mmengine() -> None:
    """Make MMEngine load and save checkpoints safely, in this process.

    ``import dr2net_mm`` does not do this; ``tools/train.py`` and ``tools/test.py`` do.
    For runs that ``mim train`` or a script of your own starts, import
    :mod:`dr2net_mm.launch.safe` or call this function before the Runner is built.
    A second call changes nothing. It changes three things:

    - Loading runs no code that a checkpoint names
      (:mod:`dr2net_mm.checkpoints.safe_load`).
    - Files on local disks are replaced only once their new content is wholly written
      (:mod:`dr2net_mm.checkpoints.atomic_write`).
    - Runs with ``ZeroRedundancyOptimizer`` save without a deadlock
      (:mod:`dr2net_mm.checkpoints.sharded_optimizer`).
    """
    secure_mmengine()
    register_atomic_backend()
    consolidate_before_saving()
