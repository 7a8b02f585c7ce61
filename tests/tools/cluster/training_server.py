"""Process that has imported everything and forks a process for each training.

Reads jobs from stdin, one JSON object a line: ``tool`` (train.py or test.py),
``arguments``, ``environment``, ``log`` (file for its output). Answers with the number
of the process, and with its exit code when asked to wait by ``{"wait": number}``.
"""

import faulthandler
import gc
import json
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Optional

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

import dr2net_mm  # noqa: F401
from dr2net_mm import atomic_file

TOOLS = Path(__file__).resolve().parents[3] / 'tools'

#: Seconds after which a training that hangs writes its stacks into its log and ends.
PATIENCE = 300


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class HalfWritten:
    """A file whose process dies in the middle of the first write."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.file = open(*arguments, **options)

    def __enter__(self) -> 'HalfWritten':
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def write(self, data: Any) -> None:
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        die()


@HOOKS.register_module()
class KillHook(Hook):
    """Kills a rank's process in iteration ``at``, counted from 0, or right after it.

    ``moment`` is 'data', 'forward', 'backward', 'update', 'write' (half a checkpoint is
    on the disk), 'written' (it is, and not recorded), 'record' (the record is empty),
    'validation'. Or another fault happens: 'terminate' (SIGTERM to itself), 'full' (no
    room for a checkpoint from now on), 'nan' (a weight is), 'overflow' (of a stream).
    """

    priority = 'VERY_HIGH'

    def __init__(self, moment: str, at: int, rank: int) -> None:
        self.moment = moment
        self.at = at
        self.rank = rank

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        if runner.iter != self.at or get_rank() != self.rank:
            return
        model = getattr(runner.model, 'module', runner.model)
        if self.moment == 'data':
            die()
        elif self.moment == 'terminate':
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.moment == 'full':
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit))
        elif self.moment == 'nan':
            model.bbox_head.retina_cls.bias.data.fill_(float('nan'))
        elif self.moment == 'overflow':
            model.backbone.patch_embed.norm.bias.data.fill_(1e6)
        elif self.moment == 'forward':
            model.backbone.register_forward_hook(die)
        elif self.moment == 'backward':
            next(p for p in model.parameters() if p.requires_grad).register_hook(die)
        elif self.moment == 'update':
            runner.optim_wrapper.optimizer.register_step_post_hook(die)
        elif self.moment == 'write':
            atomic_file.open = HalfWritten
        elif self.moment == 'written':
            atomic_file.os = Replacing()
        elif self.moment == 'record':
            sys.modules['mmengine.hooks.checkpoint_hook'].open = lambda path, mode: die(
                open(path, mode).close()
            )

    def before_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Optional[dict] = None
    ) -> None:
        if self.moment == 'validation' and runner.iter == self.at + 1:
            die()


class Replacing:
    """The ``os`` of a process that dies when a file has got its final name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target)
        if target.endswith('.pth'):
            die()


def run(job: dict) -> None:
    """Run a tool in this process and end it."""
    log = os.open(job['log'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    os.environ.update(job['environment'])
    code = 1
    try:
        scope = {'__name__': 'tool', '__file__': str(TOOLS / job['tool'])}
        source = (TOOLS / job['tool']).read_text()
        exec(compile(source, scope['__file__'], 'exec'), scope)
        code = scope['main'](job['arguments'])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    # Whatever an import prints is no answer.
    answer = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    # What a process would otherwise import by itself each time.
    import mmdet.datasets
    import mmdet.engine
    import mmdet.evaluation
    import mmdet.models
    import mmdet.visualization  # noqa: F401
    import mmengine.config.config
    import torch.distributed.tensor  # noqa: F401
    import yapf.yapflib.yapf_api
    from mmengine.utils.dl_utils import collect_env

    collect_env()
    # Takes longer to lay out the text of a config than the training lasts.
    for module in (mmengine.config.config, yapf.yapflib.yapf_api):
        module.FormatCode = lambda text, **_: (text, True)
    gc.freeze()
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        job = json.loads(line)
        if 'wait' in job:
            status = os.waitpid(job['wait'], 0)[1]
            code = os.WEXITSTATUS(status)
            print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else code, file=answer)
        else:
            process = os.fork()
            if process == 0:
                run(job)
            print(process, file=answer)
        answer.flush()


if __name__ == '__main__':
    main()
