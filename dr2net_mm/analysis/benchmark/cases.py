"""Variants that the benchmark compares, and one training step of each."""

import platform
import time
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

from dr2net_mm.analysis.memory.command import mode_backbone
from dr2net_mm.analysis.memory.detector_memory import Row, detector_memory
from dr2net_mm.analysis.memory.plan_report import budget_label
from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.analysis.precision import PRECISIONS
from dr2net_mm.analysis.subjects.backbones import build_backbone
from dr2net_mm.analysis.subjects.detectors import (
    AS_IT_IS,
    build_detector,
    detector_loss,
    detector_variant,
    random_samples,
    savings_of,
)
from dr2net_mm.backbones.base.outputs import output_list

#: Name of a mode -> mode of the backbone and its dual-residual options.
MODES: Dict[str, Any] = {
    'conventional': ('conventional', {}),
    'checkpoint': ('checkpoint', {}),
    'dr2 float': ('dr2', dict(arithmetic='float')),
    'dr2 exact': ('dr2', dict(arithmetic='exact')),
}


class Case(NamedTuple):
    """One variant in one precision.

    Attributes:
        name: How tables and plots call the variant.
        mode: Mode of the backbone: 'conventional', 'checkpoint' or 'dr2'.
        dual_residual: Options of mode 'dr2'.
        rest: What is done about the memory of the rest of a detector.
        precision: One of :data:`~dr2net_mm.analysis.precision.PRECISIONS`.
    """

    name: str
    mode: str
    dual_residual: Dict[str, Any]
    rest: str
    precision: str


class Subject(NamedTuple):
    """A measured backbone, or a detector with one, and its input.

    Attributes:
        backbone: Arguments of the backbone, either class.
        detector: Arguments of a detector around it, None for the backbone alone.
        image_size: Height and width in pixels, behind the frames of videos.
        batch: Images or videos of a step.
    """

    backbone: Dict[str, Any]
    detector: Optional[Dict[str, Any]]
    image_size: Sequence[int]
    batch: int


def make_cases(
    modes: Sequence[str],
    precisions: Sequence[str],
    dual_residual: Dict[str, Any],
    budgets: Sequence[Any] = (),
    savings: Sequence[str] = (),
) -> List[Case]:
    """Return a case for every mode in every precision.

    Args:
        modes: Keys of :data:`MODES`.
        precisions: Keys of :data:`~dr2net_mm.analysis.precision.PRECISIONS`.
        dual_residual: Options for every dual-residual mode.
        budgets: Values of `memory_budget` that 'dr2 exact' is also measured with.
        savings: What to add to 'checkpoint' and 'dr2 exact', see
            :func:`dr2net_mm.analysis.subjects.detectors.savings_of`.
    """
    variants = [(name, *MODES[name], AS_IT_IS) for name in modes]
    for budget in budgets:
        options = dict(MODES['dr2 exact'][1], memory_budget=budget)
        variants.append((f'dr2 exact {budget_label(budget)}', 'dr2', options, AS_IT_IS))
    variants += [
        (f'{name} + {rest}', *MODES[name], rest)
        for rest in savings
        for name in ('checkpoint', 'dr2 exact')
        if name in modes
    ]
    return [
        Case(
            name,
            mode,
            {**dual_residual, **options} if mode == 'dr2' else {},
            rest,
            precision,
        )
        for precision in precisions
        for name, mode, options, rest in variants
    ]


class Bench:
    """Builder of the models of some cases, and runner of their training steps.

    Cases that differ in precision alone share a model, whose gradients are dropped
    before every step.

    Args:
        subject: What is measured.
        device: 'cpu' or 'cuda'.
    """

    def __init__(self, subject: Subject, device: str) -> None:
        self.subject = subject
        self.device = torch.device(device)
        self.models: Dict[Any, nn.Module] = {}
        self.samples: Optional[List[Any]] = None
        channels = subject.backbone.get('in_channels', 3)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(
            subject.batch, channels, *subject.image_size, generator=generator
        ).to(self.device)

    def _build(self, case: Case) -> nn.Module:
        subject = self.subject
        if subject.detector is None:
            arguments = mode_backbone(subject.backbone, case.mode, **case.dual_residual)
            return build_backbone(arguments)
        variant = detector_variant(
            subject.detector, case.mode, subject.backbone, **case.dual_residual
        )
        return build_detector(variant, case.rest)

    def model(self, case: Case) -> nn.Module:
        """Return the model of a case, built once, on the device."""
        key = (case.name, case.mode, str(case.dual_residual), case.rest)
        if key not in self.models:
            torch.manual_seed(0)
            model = self._build(case)
            if self.subject.detector is not None:
                # mmdet initializes some parameters of a detector late, and logs each.
                MMLogger.get_current_instance().setLevel('ERROR')
                model.init_weights()
            self.models[key] = model.to(self.device)
        return self.models[key]

    def _loss(self, model: nn.Module) -> Tensor:
        if self.subject.detector is None:
            outputs = output_list(model(self.images))
            total: Any = sum(output.float().sum() for output in outputs)
            return total
        if self.samples is None:
            self.samples = random_samples(
                self.subject.batch,
                self.subject.image_size,
                model.bbox_head.num_classes,
                str(self.device),
            )
        return detector_loss(model, self.images, self.samples)

    def _forward_backward(self, model: nn.Module, precision: str) -> None:
        dtype = PRECISIONS[precision]
        with torch.autocast(
            self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None
        ):
            loss = self._loss(model)
        loss.backward()

    def step(self, case: Case) -> Dict[str, Any]:
        """Run one forward and backward pass and measure it."""
        model = self.model(case)
        return measured_step(
            model, partial(self._forward_backward, model, case.precision), self.device
        )

    def counted_bytes(self, case: Case) -> int:
        """Count what :meth:`step` calls memory, on meta tensors."""
        amp = PRECISIONS[case.precision]
        subject = self.subject
        if subject.detector is not None:
            detector = dict(subject.detector, backbone=subject.backbone)
            row = Row(case.name, case.mode, case.dual_residual, case.rest)
            counted = detector_memory(
                detector,
                row,
                subject.image_size,
                subject.batch,
                amp,
                cuda_operator=False,
            )
            return counted['total_bytes'] - counted['parameter_bytes']
        model = self._build(case).to('meta')
        memory = measure_step(model, self.images.to('meta'), amp=amp)
        return memory.total_bytes - memory.parameter_bytes


def measured_step(
    model: nn.Module, run: Callable[[], None], device: torch.device
) -> Dict[str, Any]:
    """Run one training step of a model and measure it.

    Memory is the most that is allocated at once beyond what was before: that of
    activations and of the gradients of parameters.

    Args:
        model: The model, without gradients before and afterwards.
        run: Its forward and backward pass.
        device: Where it is.

    Returns:
        seconds, and on CUDA memory_bytes.
    """
    model.zero_grad(set_to_none=True)
    if device.type != 'cuda':
        start = time.perf_counter()
        run()
        result = dict(seconds=time.perf_counter() - start)
    else:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        run()
        end.record()
        end.synchronize()
        result = dict(
            seconds=begin.elapsed_time(end) / 1000,
            memory_bytes=torch.cuda.max_memory_allocated() - before,
        )
    model.zero_grad(set_to_none=True)
    return result


def savings_of_subject(subject: Subject) -> Sequence[str]:
    """Return what can be done about the memory of what is not the backbone."""
    return () if subject.detector is None else savings_of(subject.detector)


def interleave(
    steps: Sequence[Callable[[], Dict[str, Any]]],
    rounds: int,
    warm_up: int,
    after: Callable[[int], None] = lambda index: None,
) -> List[List[Dict[str, Any]]]:
    """Run every step once a round, in turn, so that drift meets all of them alike.

    Args:
        steps: What is measured.
        rounds: Measured rounds.
        warm_up: Rounds before, whose results are dropped.
        after: Called with the index of a step after each run of it.

    Returns:
        For each step, its results in order; nothing for one that ran out of memory.
    """
    results: List[List[Dict[str, Any]]] = [[] for _ in steps]
    failed = set()
    for turn in range(warm_up + rounds):
        for index, step in enumerate(steps):
            if index in failed:
                after(index)
                continue
            try:
                result = step()
            except torch.cuda.OutOfMemoryError:
                failed.add(index)
                results[index] = []
                torch.cuda.empty_cache()
            else:
                if turn >= warm_up:
                    results[index].append(result)
            after(index)
    return results


def hardware(device: str) -> Dict[str, Any]:
    """Describe what the numbers depend on: processor, threads, versions."""
    found = dict(
        device=device,
        processor=_processor(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
    )
    if device == 'cuda':
        found.update(
            gpu=torch.cuda.get_device_name(),
            cuda=torch.version.cuda,
            tf32=torch.backends.cuda.matmul.allow_tf32,
        )
    return found


def _processor() -> str:
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
