"""``import dr2net_mm``: what it loads, and what it leaves as it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SCRIPT = """
import json, sys
import mmengine.dataset, mmengine.evaluator, mmengine.fileio, mmengine.runner, torch

def parts():
    # Everything in MMEngine's modules and classes, and what torch.load lets through.
    found = {'safe globals': repr(torch.serialization.get_safe_globals())}
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] != 'mmengine':
            continue
        for key, value in vars(module).items():
            found[f'{name}.{key}'] = value
            if isinstance(value, type) and value.__module__ == name:
                for member, content in vars(value).items():
                    found[f'{name}.{key}.{member}'] = content
    schemes = mmengine.runner.checkpoint.CheckpointLoader._schemes
    found['loaders'] = dict(schemes)
    found['backends'] = dict(mmengine.fileio.backends.backends)
    return found

def changed(before):
    now = parts()
    return [name for name, value in before.items()
            if now[name] is not value and not (
                isinstance(value, (str, dict)) and now[name] == value)]

mmengine_loads = set(sys.modules)
start = parts()
import dr2net_mm
loaded = [name for name in sys.modules if name not in mmengine_loads]
by_import = changed(start)
import dr2net_mm.launch.safe
print(json.dumps(dict(loaded=loaded, by_import=by_import, by_safe=changed(start))))
"""


@pytest.fixture(scope='module')
def report():
    command = [sys.executable, '-c', f'import sys; sys.path[:0] = [{str(ROOT)!r}]\n']
    command[-1] += SCRIPT
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_loads_no_library_that_a_run_may_not_need(report):
    loaded = set(report['loaded'])
    unneeded = {'scipy', 'matplotlib', 'transformers', 'mmdet', 'mmaction', 'timm'}
    assert 'dr2net_mm' in loaded and not loaded & unneeded


def test_it_changes_nothing_in_mmengine(report):
    assert report['by_import'] == []


def test_the_module_for_safe_runs_changes_loading_and_saving(report):
    assert {
        'loaders',
        'backends',
        'mmengine.runner.checkpoint.load_url',
        'mmengine.runner.runner.Runner.save_checkpoint',
    } <= set(report['by_safe'])
