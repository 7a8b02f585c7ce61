"""What ``memory.py --peers`` does."""

import argparse
from typing import Any, Dict, List, Sequence, Tuple, Union

import torch

from dr2net_mm.analysis.peers.catalog import Peer, peers
from dr2net_mm.analysis.peers.gradient_error import PeerErrors
from dr2net_mm.cli.output import write_json
from dr2net_mm.cli.progress import Progress

from .peer_memory import peer_memory, peer_table
from .plan_report import budget_label

#: Memory budgets of ours that are compared where none are asked for.
BUDGETS: Tuple[float, ...] = (0.3,)

#: What the columns mean.
LEGEND = """\
kept, peak: activations after the forward pass, and most at once (memory.py --help).
moved: to the host and back.
work: multiply-adds relative to conventional.
with all: activations, weights, gradients and the state of AdamW, most at once.
gradient error: |g - r| / |r| against everything stored in float32; autograd: what is
trained gets its gradients from ordinary autograd. Of dr2 (exact) it is the rounding of
the streams: what is recomputed has error {recomputation}.
frozen backbone: a trained scalar on its outputs stands for a head."""


def chosen_peers(
    dual_residual: Dict[str, Any], budgets: Sequence[Union[int, float]]
) -> List[Peer]:
    """Return everything that is compared, ours also within memory budgets."""
    named = [(budget_label(budget), budget) for budget in budgets or BUDGETS]
    return peers(dual_residual, named)


def count_peers(
    options: argparse.Namespace,
    backbone: Dict[str, Any],
    size: Sequence[int],
    dual_residual: Dict[str, Any],
) -> None:
    """Count all peers as the command line says, print them and write JSON.

    Args:
        options: The command line.
        backbone: Arguments of the backbone.
        size: Height and width in pixels, behind the frames of videos.
        dual_residual: Options of ours.
    """
    name = options.backbone or options.config
    chosen = chosen_peers(dual_residual, options.budget)
    progress = Progress(len(chosen))
    # Large images would take minutes on a CPU, and change the error little.
    small = (*size[:-2], *(min(length, 224) for length in size[-2:]))
    errors = PeerErrors(backbone, small)
    rows = peer_memory(chosen, backbone, size, options.batch, errors, progress.step)
    print(peer_table(rows))
    recomputed = [r for r in rows if r['mode'] == 'dr2 exact' and 'reason' not in r]
    found = recomputed[0]['recomputation_error'] if recomputed else '-'
    print('\n' + LEGEND.format(recomputation=f'{found:g}'))
    if options.json:
        result = dict(
            name=name,
            image_size=list(size),
            batch=options.batch,
            errors=dict(image_size=list(small), batch=1),
            torch=torch.__version__,
            rows=rows,
        )
        write_json(options.json, result)
        print(f'written: {options.json}')
