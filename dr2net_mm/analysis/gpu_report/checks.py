"""Steps of the report: each takes its settings and returns its results.

They run in a process of their own (:mod:`.process`). Backbones and detectors are timed
as by ``tools/analysis/benchmark.py``; the soak is ``tools/analysis/soak.py``.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple
from xml.etree import ElementTree

import torch
from torch import Tensor, nn

from dr2net_mm.analysis.benchmark.cases import (
    Bench,
    Subject,
    make_cases,
    savings_of_subject,
)
from dr2net_mm.analysis.benchmark.command import benchmark
from dr2net_mm.analysis.memory.command import mode_backbone
from dr2net_mm.analysis.memory.storage_meter import StorageMeter
from dr2net_mm.analysis.precision import PRECISIONS
from dr2net_mm.analysis.quiet import ignore_known_warnings
from dr2net_mm.analysis.soak.command import main as soak_main
from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    named_backbone,
    with_frames,
)
from dr2net_mm.analysis.subjects.detectors import config_detector
from dr2net_mm.backbones.base.outputs import output_list

ROOT = Path(__file__).resolve().parents[3]

#: What a step found, and whether that is as it should be.
Outcome = Tuple[Dict[str, Any], bool]


def run_tests(settings: Dict[str, Any], device: str) -> Outcome:
    """Run tests of the suite in a Python of their own; counts and failures.

    Settings: `arguments` of pytest and `environment` variables.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'tests.xml'
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
        command += ['--junitxml', str(report), *settings['arguments']]
        done = subprocess.run(
            command, cwd=str(ROOT), env={**os.environ, **settings['environment']}
        )
        found = read_junit(report) if report.exists() else {}
    found.update(command=' '.join(command[1:4] + settings['arguments']))
    found.update(exit_code=done.returncode)
    return found, done.returncode == 0 and found.get('passed', 0) > 0


def read_junit(report: Path) -> Dict[str, Any]:
    """Read the counts of a JUnit file of pytest, and what failed and why."""
    counts = dict(passed=0, failed=0, skipped=0)
    failures: List[Dict[str, str]] = []
    for case in ElementTree.parse(str(report)).getroot().iter('testcase'):
        wrong = [child for child in case if child.tag in ('failure', 'error')]
        if wrong:
            counts['failed'] += 1
            name = f'{case.get("classname")}::{case.get("name")}'
            failures.append(dict(name=name, message=wrong[0].get('message', '')[:300]))
        elif any(child.tag == 'skipped' for child in case):
            counts['skipped'] += 1
        else:
            counts['passed'] += 1
    return dict(counts, failures=failures)


def subject_of(settings: Dict[str, Any]) -> Subject:
    """Build the subject of settings: a `backbone` or the `config` of a detector."""
    size = tuple(settings['size'])
    if 'config' in settings:
        detector = config_detector(str(ROOT / settings['config']))
        detector.update(settings.get('detector', {}))
        return Subject(detector['backbone'], detector, size, settings['batch'])
    backbone = settings['backbone']
    if isinstance(backbone, str):
        backbone = named_backbone(backbone)
    if len(size) == 3:
        backbone = with_frames(backbone, size[0])
    return Subject(backbone, None, size, settings['batch'])


def time_steps(settings: Dict[str, Any], device: str) -> Outcome:
    """Time and memory of training steps, as ``tools/analysis/benchmark.py``."""
    subject = subject_of(settings)
    cases = make_cases(
        settings['modes'],
        settings['precisions'],
        {},
        settings.get('budgets', ()),
        settings.get('savings', savings_of_subject(subject)),
    )
    rows = benchmark(
        subject, cases, device, settings['rounds'], settings['warm_up'],
        count_memory=False, after=lambda label: print(label, flush=True),
    )  # fmt: skip
    return dict(rows=rows), any(row['seconds'] for row in rows)


def compare_memory(settings: Dict[str, Any], device: str) -> Outcome:
    """Compare memory counted on meta tensors with memory really allocated.

    On CUDA the latter is ``torch.cuda.max_memory_allocated`` beyond what was allocated
    before the step. Elsewhere real tensors are followed storage by storage.
    """
    rows = []
    ratios: List[float] = []
    for part in settings['subjects']:
        subject = subject_of(part)
        for case in make_cases(settings['modes'], settings['precisions'], {}):
            bench = Bench(subject, device)
            counted = bench.counted_bytes(case)
            allocated: Optional[int] = None
            try:
                bench.step(case)  # Libraries take their workspaces here.
                allocated = _allocated(bench, case)
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
            rows.append(
                dict(
                    subject=part.get('name') or str(part['backbone']),
                    size=list(subject.image_size),
                    batch=subject.batch,
                    mode=case.name,
                    precision=case.precision,
                    counted_bytes=counted,
                    allocated_bytes=allocated,
                    ratio=counted / allocated if allocated else None,
                )
            )
            if allocated:
                ratios.append(counted / allocated)
            print(rows[-1], flush=True)
    tolerance = settings['tolerance']
    close = all(abs(ratio - 1) <= tolerance for ratio in ratios)
    return dict(rows=rows, tolerance=tolerance), bool(ratios) and close


def _allocated(bench: Bench, case: Any) -> int:
    if bench.device.type == 'cuda':
        return bench.step(case)['memory_bytes']
    model = bench.model(case)
    resident = [*model.parameters(), *model.buffers(), bench.images]
    with StorageMeter(resident, device='cpu') as meter:
        bench.step(case)
    return meter.peak_bytes(gradients=True)


def _gradients(
    model: nn.Module, images: Tensor, dtype: Optional[torch.dtype]
) -> List[Tensor]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(7)
    with torch.autocast(
        images.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None
    ):
        outputs = output_list(model(images))
    loss: Any = sum(output.float().sin().mean() for output in outputs)
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Dict[str, Any]:
    """Compare gradients: how many differ, and by how much of their norm."""
    pairs = list(zip(found, wanted))
    error = sum(float((f - w).double().square().sum()) for f, w in pairs)
    norm = sum(float(w.double().square().sum()) for w in wanted)
    return dict(
        gradients=len(pairs),
        different=sum(not torch.equal(f, w) for f, w in pairs),
        relative_error=(error / norm) ** 0.5 if norm else None,
    )


def check_determinism(settings: Dict[str, Any], device: str) -> Outcome:
    """Check that branches give the same bits twice, as exact arithmetic needs.

    Compares, with torch's ordinary and with its deterministic kernels, gradients of a
    reversible pass under ``verify=True`` with those of stored activations, and two
    reversible passes with each other. The outcome is good if, with deterministic
    kernels, `verify` reports nothing and no gradient differs from the stored one.
    """
    # cuBLAS reads it when it starts, and is deterministic with it only.
    os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    rows = []
    for part in settings['subjects']:
        subject = subject_of(part)
        generator = torch.Generator().manual_seed(0)
        shape = (subject.batch, 3, *subject.image_size)
        images = torch.randn(shape, generator=generator).to(device)
        models = {}
        for name, options in (
            ('reversible', dict(verify=True)),
            ('stored', dict(backprop='stored')),
        ):
            torch.manual_seed(0)
            backbone = mode_backbone(subject.backbone, 'dr2', **options)
            models[name] = build_backbone(backbone).to(device)
        for precision in settings['precisions']:
            for deterministic in (False, True):
                row = _compare(models, images, PRECISIONS[precision], deterministic)
                name = part.get('name') or str(part['backbone'])
                row.update(subject=name, precision=precision)
                rows.append(dict(row, deterministic_kernels=deterministic))
                print(rows[-1], flush=True)
    good = all(
        row['error'] is None and row['to_stored']['different'] == 0
        for row in rows
        if row['deterministic_kernels']
    )
    return dict(rows=rows), good


def _compare(
    models: Dict[str, nn.Module],
    images: Tensor,
    dtype: Optional[torch.dtype],
    deterministic: bool,
) -> Dict[str, Any]:
    torch.backends.cudnn.deterministic = deterministic
    # With warn_only=True fused attention would keep its ordinary backward.
    torch.use_deterministic_algorithms(deterministic)
    message = None
    try:
        found, again, wanted = (
            _gradients(models[name], images, dtype)
            for name in ('reversible', 'reversible', 'stored')
        )
    except RuntimeError as error:
        # What verify=True raises, or an operation that has no deterministic kernel
        message, found, again, wanted = str(error).split('\n')[0], [], [], []
    finally:
        torch.use_deterministic_algorithms(False)
    return dict(
        error=message,
        to_stored=_difference(found, wanted),
        to_itself=_difference(again, found),
    )


def soak(settings: Dict[str, Any], device: str) -> Outcome:
    """Run ``tools/analysis/soak.py``; its judgment, without the single steps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'soak.json'
        arguments = [*settings['arguments'], '--device', device, '--json', str(path)]
        try:
            soak_main(arguments)
        except SystemExit as end:
            code = end.code
        if not path.exists():
            raise RuntimeError(f'soak.py ended with {code} and no result; see the log')
        found = json.loads(path.read_text(encoding='utf-8'))
    steps = found.pop('steps')
    found['most_bytes'] = max(size for size in steps['peak_bytes'])
    found.pop('epochs')
    found.update(command=f'tools/analysis/soak.py {" ".join(settings["arguments"])}')
    return found, code in (0, None) and found['passed']


def quiet() -> None:
    """Leave out warnings that say nothing about what is measured."""
    ignore_known_warnings()
    warnings.filterwarnings('ignore', message='.*determin')
