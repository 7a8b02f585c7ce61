"""The two processes of the tests of this folder; started by ``conftest.py``.

    python ranks.py test_file.py < tests.json

Imports the test file once and forks, which takes half the time of starting twice. The
last line on standard output says in JSON what became of each test; nothing is said of
tests behind the first that failed.
"""

import datetime
import faulthandler
import importlib.util
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

os.environ.setdefault('OMP_NUM_THREADS', '1')
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import pytest  # noqa: E402
import torch  # noqa: E402
from toolbox import WORLD_SIZE, Ranks  # noqa: E402
from torch import distributed  # noqa: E402

import dr2net_mm.launch.safe  # noqa: E402, F401

#: Seconds that a rank waits for the other.
PATIENCE = 60

#: Seconds after which a test that hangs shows its stacks and ends its rank.
LIMIT = 240


def imported(path: str) -> Any:
    """The module of a test file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def outcome(test: Callable[..., None], ranks: Ranks, arguments: dict) -> Optional[str]:
    """None, or why a test failed or was skipped on this rank."""
    try:
        with torch.random.fork_rng():
            test(ranks, **arguments)
    except pytest.skip.Exception as skipped:
        return f'skip: {skipped.msg}'
    except BaseException:
        return f'rank {ranks.rank}:\n{traceback.format_exc()}'
    return None


def run_rank(
    rank: int, root: str, tests: List[dict], module: Any, answer: Connection
) -> None:
    """Body of one process."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(WORLD_SIZE), LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(WORLD_SIZE),
    )  # fmt: skip
    distributed.init_process_group(
        'gloo',
        init_method=f'file://{root}/rendezvous',
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=datetime.timedelta(seconds=PATIENCE),
    )
    for number, test in enumerate(tests):
        folder = Path(root, str(number))
        folder.mkdir(exist_ok=True)
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        function = getattr(module, test['function'])
        failure = outcome(function, Ranks(rank, folder), test['arguments'])
        answer.send((test['id'], failure))
        if failure is not None and not failure.startswith('skip: '):
            break
    # A rank whose last test failed does not wait for the other.
    os._exit(0)


def main(path: str) -> Dict[str, Optional[str]]:
    """What became of the tests on standard input."""
    tests = json.load(sys.stdin)
    module = imported(path)
    context = multiprocessing.get_context('fork')
    root = tempfile.mkdtemp()
    pipes = [context.Pipe(duplex=False) for _ in range(WORLD_SIZE)]
    processes = [
        context.Process(target=run_rank, args=(rank, root, tests, module, pipe[1]))
        for rank, pipe in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    found = collect([pipe[0] for pipe in pipes], processes, tests)
    for process in processes:
        process.kill()
        process.join()
    shutil.rmtree(root, ignore_errors=True)
    return found


def collect(
    readers: List[Connection], processes: List[Any], tests: List[dict]
) -> Dict[str, Optional[str]]:
    """Outcomes of the tests that both ranks ended, up to the first failure."""
    answers: Dict[str, List[Optional[str]]] = {test['id']: [] for test in tests}
    found: Dict[str, Optional[str]] = {}
    for test in tests:
        mine = answers[test['id']]
        while len(mine) < WORLD_SIZE and not any(mine):
            ready = wait(readers, timeout=1)
            for reader in ready:
                name, failure = reader.recv()
                answers[name].append(failure)
            if not ready and not any(process.is_alive() for process in processes):
                codes = [process.exitcode for process in processes]
                mine.append(f'the processes ended with {codes}')
        found[test['id']] = next((text for text in mine if text), None)
        if found[test['id']] and not found[test['id']].startswith('skip: '):
            break
    return found


if __name__ == '__main__':
    # Whatever tests print goes to standard error.
    answer, sys.stdout = sys.stdout, sys.stderr
    outcomes = main(sys.argv[1])
    print(json.dumps(outcomes), file=answer)
