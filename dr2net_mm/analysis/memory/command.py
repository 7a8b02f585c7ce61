"""Memory of a training step, conventional, checkpointed and reversible, without GPU."""

import argparse
import warnings
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch

from dr2net_mm.analysis.backbone_arguments import (
    chosen_backbone,
    chosen_input,
    size_text,
)
from dr2net_mm.analysis.precision import AMP_DTYPES
from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    conventional_backbone,
    reversible_backbone,
)
from dr2net_mm.analysis.subjects.detectors import HEADS, config_detector
from dr2net_mm.cli.command import run_command
from dr2net_mm.cli.output import check_output, format_table, write_json
from dr2net_mm.errors import UserError

from .arguments import BATCH, MODES, dual_residual_options, memory_parser
from .detector_memory import detector_memory, detector_rows
from .fit.report import plan_training
from .peer_command import count_peers
from .plan_report import (
    budget_label,
    describe_plan,
    stage_costs,
    storage_plan,
    trade_off,
    trade_off_table,
)
from .step_memory import measure_step


def mode_backbone(
    backbone: Dict[str, Any], mode: str, **dual_residual: Any
) -> Dict[str, Any]:
    """Return the arguments of a backbone in one of :data:`MODES`.

    Raises:
        ValueError: if the mode is unknown, or the backbone's type is.
    """
    if mode == 'conventional':
        return conventional_backbone(backbone)
    if mode == 'checkpoint':
        return conventional_backbone(backbone, with_cp=True)
    if mode == 'dr2':
        return reversible_backbone(backbone, **dual_residual)
    raise ValueError(f'mode {mode!r} is unknown; accepted: {", ".join(MODES)}')


def backbone_memory(
    backbone: Dict[str, Any],
    image_size: Union[int, Sequence[int]] = 1024,
    batch: int = 2,
    amp: Optional[str] = None,
    modes: Sequence[str] = MODES,
    **dual_residual: Any,
) -> List[Dict[str, Any]]:
    """Count one training step of a backbone in several modes.

    Args:
        backbone: arguments of the backbone, either class.
        image_size: height and width in pixels, or one number for both; frames in
            front for videos.
        batch: images or videos.
        amp: 'bf16' or 'fp16' for autocast, None for fp32.
        modes: which of :data:`MODES`, in the order of the result.
        dual_residual: options of mode 'dr2' in place of the backbone's.

    Returns:
        One dictionary a mode: `mode`, and the fields of `StepMemory`.
    """
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    rows = []
    for mode in modes:
        model = build_backbone(mode_backbone(backbone, mode, **dual_residual))
        model.to('meta')
        channels = backbone.get('in_channels', 3)
        image = torch.empty(batch, channels, *image_size, device='meta')
        with warnings.catch_warnings():
            # mmdet leaves use_reentrant of torch's checkpoint at its default.
            warnings.filterwarnings('ignore', message='.*use_reentrant')
            memory = measure_step(model, image, amp=AMP_DTYPES[amp] if amp else None)
        rows.append(dict(mode=mode, **asdict(memory)))
    return rows


def budget_memory(
    backbone: Dict[str, Any],
    budget: Union[int, float],
    image_size: Sequence[int],
    batch: int,
    amp: Optional[str] = None,
    **dual_residual: Any,
) -> Dict[str, Any]:
    """Count a training step of a dual-residual backbone that keeps to a budget.

    Returns:
        A row as of :func:`backbone_memory`, with the plan and its prediction.
    """
    options = dict(dual_residual, memory_budget=budget)
    row = backbone_memory(backbone, image_size, batch, amp, ['dr2'], **options)[0]
    model = build_backbone(mode_backbone(backbone, 'dr2', **options))
    costs = stage_costs(model, image_size, batch, 2 if amp else 4)
    plan = storage_plan(costs, budget)
    row.update(
        mode=f'dr2 (budget {budget_label(budget)})',
        **plan.summary(),
        text=describe_plan(plan),
        trade_off=trade_off(costs),
    )
    return row


def memory_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Format the rows of :func:`backbone_memory` as text, one line a mode."""
    largest = max(row['total_bytes'] for row in rows)
    unit, name = (1e9, 'GB') if largest >= 1e9 else (1e6, 'MB')
    first = rows[0]
    header = [
        'mode',
        f'kept [{name}]',
        f'peak [{name}]',
        f'total [{name}]',
        f'peak / {first["mode"]}',
        f'work / {first["mode"]}',
    ]
    lines = [
        [
            row['mode'],
            *(
                f'{row[key] / unit:.3f}'
                for key in ('kept_bytes', 'peak_bytes', 'total_bytes')
            ),
            f'{row["peak_bytes"] / first["peak_bytes"]:.3f}',
            f'{row["multiply_adds"] / first["multiply_adds"]:.3f}',
        ]
        for row in rows
    ]
    return format_table(header, lines)


def _subject(
    options: argparse.Namespace,
) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    return chosen_input(options, chosen_backbone(options), default=1024)


def _backbone_rows(options: argparse.Namespace) -> List[Dict[str, Any]]:
    backbone, size = _subject(options)
    dual_residual = dual_residual_options(options)
    counted = (size, options.batch, options.amp)
    rows = backbone_memory(backbone, *counted, **dual_residual)
    for budget in options.budget:
        rows.append(budget_memory(backbone, budget, *counted, **dual_residual))
    return rows


def _detector_rows(options: argparse.Namespace) -> List[Dict[str, Any]]:
    if options.config is None:
        raise UserError('--detector needs CONFIG, the config of a detector')
    detector = config_detector(options.config, HEADS)
    _, size = _subject(options)
    budgets = [(budget_label(budget), budget) for budget in options.budget]
    amp = AMP_DTYPES[options.amp] if options.amp else None
    return [
        detector_memory(
            detector,
            row,
            size,
            options.batch,
            amp,
            cuda_operator=options.deformable_attention == 'cuda',
        )
        for row in detector_rows(detector, dual_residual_options(options), budgets)
    ]


def _plan(options: argparse.Namespace) -> None:
    if options.config is None:
        raise UserError('--fit needs CONFIG, the config of a detector')
    _, size = _subject(options)
    print(f'{options.config}, {size_text(size)}, {options.boxes} boxes')
    result = plan_training(
        options.config,
        options.fit,
        size,
        options.batch,
        options.boxes,
        options.amp,
        cuda=options.deformable_attention == 'cuda',
    )
    if options.json:
        write_json(options.json, result)
        print(f'written: {options.json}')


def _peers(options: argparse.Namespace) -> None:
    if options.detector:
        raise UserError('--peers compares backbones; leave out --detector')
    if options.amp:
        raise UserError('--peers compares in fp32; leave out --amp')
    backbone, size = _subject(options)
    name = options.backbone or options.config
    print(f'{name}, {size_text(size)}, batch {options.batch}, fp32')
    count_peers(options, backbone, size, dual_residual_options(options))


def _command(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    if options.fit:
        _plan(options)
        return
    options.batch = options.batch or BATCH
    if options.peers:
        _peers(options)
        return
    rows = _detector_rows(options) if options.detector else _backbone_rows(options)
    _, size = _subject(options)
    name = options.backbone or options.config
    precision = f'autocast {options.amp}' if options.amp else 'fp32'
    print(f'{name}, {size_text(size)}, batch {options.batch}, {precision}')
    print(memory_table(rows))
    plans = [row for row in rows if 'plan' in row]
    for row in plans:
        print(f'\n{row["mode"]}: {row.pop("text")}')
    if plans:
        print('\nmemory against work (1 is conventional), predicted:')
        print(trade_off_table(plans[-1]['trade_off']))
    if options.json:
        write_json(options.json, rows)
        print(f'written: {options.json}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/memory.py`."""
    run_command(memory_parser(), _command, arguments)
