"""Memory of everything that a user could pick instead, for the same network."""

import math
import warnings
from dataclasses import asdict
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch import nn

from dr2net_mm.analysis.peers.catalog import WHOLE, Peer
from dr2net_mm.analysis.peers.gradient_error import PeerErrors
from dr2net_mm.analysis.peers.variant import Variant
from dr2net_mm.analysis.quiet import ignore_known_warnings
from dr2net_mm.cli.output import format_table
from dr2net_mm.errors import UserError

from .meta_attention import FusedMetaAttention
from .step_memory import measure_step
from .storage_meter import StorageMeter


def count_peer(
    peer: Peer,
    backbone: Dict[str, Any],
    image_size: Sequence[int],
    batch: int,
) -> Dict[str, Any]:
    """Count one training step of a peer in float32, on meta tensors.

    Args:
        peer: What is counted.
        backbone: Arguments of the backbone, of either class.
        image_size: Height and width in pixels, behind the frames of videos.
        batch: Images or videos.

    Returns:
        mode, trains, the fields of :class:`~.step_memory.StepMemory`, moved_bytes,
        trained_parameters (a count), optimizer_bytes (of AdamW), and all_bytes: most at
        once of weights, gradients, activations and the optimizer.
    """
    with warnings.catch_warnings():
        ignore_known_warnings()
        variant = peer.build(backbone)
        variant.model.to('meta')
        channels = backbone.get('in_channels', 3)
        images = torch.empty(batch, channels, *image_size, device='meta')
        if variant.needs_warm_up:
            with FusedMetaAttention():
                variant(images)
        memory = measure_step(variant.model, images, forward=variant)
    optimizer = adamw_bytes(variant.model)
    return dict(
        mode=peer.name,
        trains=peer.trains,
        **asdict(memory),
        moved_bytes=variant.moved_bytes,
        trained_parameters=_trained(variant),
        optimizer_bytes=optimizer,
        all_bytes=memory.total_bytes + optimizer,
    )


def _trained(variant: Variant) -> int:
    return sum(p.numel() for p in variant.model.parameters() if p.requires_grad)


def adamw_bytes(model: nn.Module) -> int:
    """Count the state that torch's AdamW makes for a model on the meta device."""
    trained = [p for p in model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    with StorageMeter([*trained, *(p.grad for p in trained)]) as meter:
        # Kept until the count is read: its state lives as long as it does.
        optimizer = torch.optim.AdamW(trained, foreach=False)
        optimizer.step()
        state = meter.live_bytes()
    model.zero_grad(set_to_none=True)
    return state


def peer_memory(
    chosen: Sequence[Peer],
    backbone: Dict[str, Any],
    image_size: Sequence[int],
    batch: int,
    errors: Optional[PeerErrors] = None,
    after: Callable[[str], None] = lambda name: None,
) -> List[Dict[str, Any]]:
    """Count every peer; one that does not go with the network says why.

    Args:
        chosen: What is counted.
        backbone: Arguments of the backbone, of either class.
        image_size: Height and width in pixels, behind the frames of videos.
        batch: Images or videos.
        errors: Measurement of gradient errors, None to leave it out.
        after: Called with the name of each peer that is done.

    Returns:
        One dictionary a peer, as of :func:`count_peer`, with the fields of
        :class:`~dr2net_mm.analysis.peers.gradient_error.PeerError`; or mode, trains
        and reason.
    """
    rows = []
    for peer in chosen:
        try:
            row = count_peer(peer, backbone, image_size, batch)
            if errors is not None:
                with warnings.catch_warnings():
                    ignore_known_warnings()
                    found = errors.measure(peer)._asdict()
                row.update({key: _strict(value) for key, value in found.items()})
        except UserError as error:
            row = dict(mode=peer.name, trains=peer.trains, reason=str(error))
        rows.append(row)
        after(peer.name)
    return rows


def peer_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Format the rows of :func:`peer_memory` as text."""
    header = ['way to train', 'trains', 'kept [GB]', 'peak [GB]', 'moved [GB]', 'work']
    header += ['trained [M]', 'grad.+AdamW [GB]', 'with all [GB]', 'gradient error']
    counted = [row for row in rows if 'reason' not in row]
    first = counted[0]
    lines = []
    for row in counted:
        state = row['gradient_bytes'] + row['optimizer_bytes']
        lines.append(
            [
                row['mode'],
                row['trains'],
                *(gigabytes(row[key]) for key in ('kept_bytes', 'peak_bytes')),
                gigabytes(row['moved_bytes']) if row['moved_bytes'] else '-',
                f'{row["multiply_adds"] / first["multiply_adds"]:.3f}',
                f'{row["trained_parameters"] / 1e6:.2f}',
                gigabytes(state),
                gigabytes(row['all_bytes']),
                error_text(row),
            ]
        )
    left_out = [f'{row["mode"]}: {row["reason"]}' for row in rows if 'reason' in row]
    return '\n'.join([format_table(header, lines), *left_out])


def error_text(row: Dict[str, Any]) -> str:
    """Format the gradient error of a row."""
    if 'gradient_error' not in row:
        return '-'
    error = row['gradient_error']
    if error is None:
        return 'autograd' if row['trains'] != WHOLE else '-'
    return '0' if error == 0 else f'{float(error):.1e}'


def _strict(number: Optional[float]) -> Any:
    """Return a number that JSON has; 'nan' and 'inf' as text, which float() reads."""
    return number if number is None or math.isfinite(number) else str(number)


def gigabytes(size: int) -> str:
    """Format bytes as a number of GB."""
    return f'{size / 1e9:.3f}'
