"""Engines under DistributedDataParallel, in two processes on the CPU."""

import json
import os
import tempfile
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, Dict, Tuple

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dr2net_mm.reversible.gradient_error import compare_gradients

from .checks import answer, gradients_of, loss_of
from .network import Network
from .stacks import Engine, engines

RANKS = 2
_TIMEOUT = timedelta(seconds=60)

#: Name of a cell -> options of DistributedDataParallel.
VARIANTS: Dict[str, Dict[str, Any]] = dict(
    ddp=dict(find_unused_parameters=False),
    ddp_find_unused=dict(find_unused_parameters=True),
)


def ddp_answers(engine: Engine, network: Network) -> Dict[str, Any]:
    """Measure gradient errors of an engine under DDP, in processes of their own.

    Each rank has images of its own; the reference is the mean of the gradients of
    both, by ordinary autograd in one process.

    Returns:
        For each of :data:`VARIANTS`, an answer as of :func:`~.checks.answer`.
    """
    os.environ.setdefault('TORCH_CPP_LOG_LEVEL', 'ERROR')
    context = torch.multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(
                target=_rank, args=(rank, engine.name, tuple(network), folder)
            )
            for rank in range(RANKS)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(4 * _TIMEOUT.total_seconds())
            if process.is_alive():
                process.kill()
        answers = {}
        for name in VARIANTS:
            file = Path(folder) / f'{name}.json'
            ended = dict(error='the processes ended without an answer')
            answers[name] = json.loads(file.read_text()) if file.exists() else ended
        return answers


def _rank(rank: int, name: str, given: Tuple[Any, ...], folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    engine = next(engine for engine in engines() if engine.name == name)
    network = Network(*given)
    for variant, options in VARIANTS.items():

        def question(asked: Engine, options: Dict[str, Any] = options) -> float:
            return _error(asked, network, rank, options)

        store = f'file://{folder}/{variant}.store'
        dist.init_process_group(
            'gloo', init_method=store, rank=rank, world_size=RANKS, timeout=_TIMEOUT
        )
        found = answer(question, engine)
        if rank == 0:
            Path(folder, f'{variant}.json').write_text(json.dumps(found))
        dist.destroy_process_group()
    # gloo's threads can abort an interpreter that is being finalized.
    os._exit(0)


def _error(
    engine: Engine, network: Network, rank: int, options: Dict[str, Any]
) -> float:
    model = network.build(engine.factory)
    parallel: nn.Module = DistributedDataParallel(model, **options)
    loss_of(parallel, network.images(rank)).backward()
    reference = network.build(engine.stored)
    losses = [loss_of(reference, network.images(other)) for other in range(RANKS)]
    (sum(losses[1:], losses[0]) / RANKS).backward()
    found = compare_gradients(gradients_of([model]), gradients_of([reference]))
    return found.relative_error
