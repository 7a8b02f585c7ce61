"""Memory of a backbone: conventional, checkpointed and reversible, without a GPU."""

import argparse
import warnings
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence, Union

import torch

from .backbones import build_backbone, conventional_backbone, reversible_backbone
from .command_line import (
    backbone_parser,
    check_output,
    chosen_backbone,
    chosen_image_size,
    format_table,
    run_command,
    write_json,
)
from .step_memory import measure_step

MODES = ('conventional', 'checkpoint', 'dr2')
"""mmdet's own class, the same with `with_cp=True`, and ours."""

AMP_DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def mode_backbone(
    backbone: Dict[str, Any], mode: str, **dual_residual: Any
) -> Dict[str, Any]:
    """Arguments of a backbone in one of :data:`MODES`.

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
        image_size: height and width in pixels, or one number for both.
        batch: images.
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


def memory_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Rows of :func:`backbone_memory` as text, one line a mode."""
    largest = max(row['total_bytes'] for row in rows)
    unit, name = (1e9, 'GB') if largest >= 1e9 else (1e6, 'MB')
    first = rows[0]
    header = [
        'mode',
        f'kept [{name}]',
        f'peak [{name}]',
        f'total [{name}]',
        f'peak / {first["mode"]}',
    ]
    lines = [
        [
            row['mode'],
            *(
                f'{row[key] / unit:.3f}'
                for key in ('kept_bytes', 'peak_bytes', 'total_bytes')
            ),
            f'{row["peak_bytes"] / first["peak_bytes"]:.3f}',
        ]
        for row in rows
    ]
    return format_table(header, lines)


def _parser():
    parser = backbone_parser(
        'memory.py',
        'Count the memory of one forward and backward of a backbone, without a GPU.\n'
        f'Modes: {", ".join(MODES)} (checkpoint is with_cp=True).',
        'kept:  after the forward: what the graph keeps, and the outputs.\n'
        'peak:  most at once; parameters, their gradients and the input not counted.\n'
        'total: most at once, with parameters and gradients.\n'
        'The loss is the sum of all outputs. Counted on meta tensors, storage by\n'
        'storage; what a kernel allocates inside is not seen. GB = 1e9 bytes.\n\n'
        'Example:\n'
        '  python tools/analysis/memory.py --backbone swin-t --img-size 1024 --batch 2',
    )
    parser.set_defaults(batch=2)
    parser.add_argument(
        '--arithmetic',
        choices=('exact', 'float'),
        help="arithmetic of dr2 (default: the config's, or exact)",
    )
    parser.add_argument(
        '--amp',
        choices=tuple(AMP_DTYPES),
        help="autocast by CUDA's rules (default: none, fp32)",
    )
    return parser


def _command(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    backbone = chosen_backbone(options)
    size = chosen_image_size(options, default=1024)
    rows = backbone_memory(
        backbone,
        size,
        options.batch,
        options.amp,
        alpha=options.alpha,
        beta=options.beta,
        arithmetic=options.arithmetic,
    )
    name = options.backbone or options.config
    precision = f'autocast {options.amp}' if options.amp else 'fp32'
    print(f'{name}, {size[0]}x{size[1]}, batch {options.batch}, {precision}')
    print(memory_table(rows))
    if options.json:
        write_json(options.json, rows)
        print(f'written: {options.json}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command `tools/analysis/memory.py`."""
    run_command(_parser(), _command, arguments)
