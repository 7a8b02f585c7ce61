"""Memory of a training step of a network for point clouds, counted on meta tensors."""

import argparse
import copy
from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.registry import MODELS
from torch import nn

from dr2net_mm.backbones.base.counted_costs import on_meta
from dr2net_mm.cli.command import OneLineParser, positive_int, run_command
from dr2net_mm.cli.output import check_output, write_json
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError

from .command import memory_table
from .step_memory import measure_step

#: What the encoder of a row is, and whether decoder and head are recomputed.
ROWS: Dict[str, Dict[str, Any]] = {
    'conventional': dict(type='PointViT', with_cp=False),
    'checkpoint': dict(type='PointViT', with_cp=True),
    'dr2': dict(type='Dr2PointViT'),
}


def point_memory(
    model: Dict[str, Any], batch: int, points: int
) -> List[Dict[str, Any]]:
    """Count one forward and backward pass of a whole network in three modes.

    Args:
        model: ``model`` of a config, a ``Pix4Point``.
        batch: Clouds of a batch.
        points: Points of a cloud.

    Returns:
        A row for each mode, as :func:`~.command.memory_table` takes them.
    """
    rows = []
    for mode, changes in ROWS.items():
        network = on_meta(_built(model, changes)).train()
        channels = network.encoder.in_channels
        inputs = torch.empty(batch, points, channels, device='meta')
        step = measure_step(network, inputs, forward=network.logits)
        rows.append(dict(mode=mode, batch=batch, points=points, **vars(step)))
    return rows


def _built(model: Dict[str, Any], changes: Dict[str, Any]) -> nn.Module:
    config = copy.deepcopy(model)
    encoder = {**config['encoder'], **changes}
    encoder.pop('init_cfg', None)
    if encoder['type'] == 'PointViT':
        encoder.pop('dual_residual', None)
        encoder.pop('average_last_two', None)
    return MODELS.build(dict(config, encoder=encoder))


def count(options: argparse.Namespace) -> None:
    """Print the table."""
    check_output(options.out, '--out')
    config = load_config(options.config)
    if config.get('model', {}).get('type') != 'Pix4Point':
        raise UserError(
            f'config {options.config!r} has no model of type Pix4Point; '
            'tools/analysis/memory.py counts backbones and detectors'
        )
    rows = point_memory(config.model.to_dict(), options.batch, options.points)
    print(memory_table(rows))
    if options.out is not None:
        write_json(options.out, rows)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the tool."""
    parser = OneLineParser(
        prog='point_memory.py',
        description='Count the bytes of one training step of a whole Pix4Point on meta '
        'tensors (float32): conventional, checkpointed, and dual-residual. No GPU and '
        'no data are needed.',
    )
    parser.add_argument('config', help='config of configs/pix4point')
    parser.add_argument(
        '--batch', type=positive_int, default=8, help='clouds of a batch (default: 8)'
    )
    parser.add_argument(
        '--points',
        type=positive_int,
        default=16384,
        help='points of a cloud (default: 16384)',
    )
    parser.add_argument('--out', help='JSON file to write the bytes to')
    parser.add_argument(
        '--traceback', action='store_true', help='show where an error was'
    )
    run_command(parser, count, arguments)
