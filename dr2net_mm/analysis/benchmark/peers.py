"""Time of everything that a user could pick instead, for the same network."""

import argparse
import warnings
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch

from dr2net_mm.analysis.memory.peer_command import chosen_peers
from dr2net_mm.analysis.memory.peer_memory import count_peer, gigabytes
from dr2net_mm.analysis.peers.catalog import Peer
from dr2net_mm.analysis.peers.variant import Variant
from dr2net_mm.analysis.quiet import ignore_known_warnings
from dr2net_mm.backbones.base.outputs import output_list
from dr2net_mm.cli.output import format_table, write_json
from dr2net_mm.cli.progress import Progress
from dr2net_mm.errors import UserError

from .cases import Case, hardware, interleave, measured_step
from .report import summarize

#: Names of rows that others are compared with, as :func:`summarize` calls them.
_REFERENCES = {'with_cp': 'checkpoint'}


class PeerBench:
    """Builder of the models of all peers, and runner of their training steps.

    Args:
        peers: What is measured.
        backbone: Arguments of the backbone, of either class.
        image_size: Height and width in pixels, behind the frames of videos.
        batch: Images or videos.
        device: 'cpu' or 'cuda'.

    Attributes:
        ready: The peers that go with the network, with their models.
        refused: Names of the others, and why.
    """

    def __init__(
        self,
        peers: Sequence[Peer],
        backbone: Dict[str, Any],
        image_size: Sequence[int],
        batch: int,
        device: str,
    ) -> None:
        self._device = torch.device(device)
        self.ready: List[Any] = []
        self.refused: Dict[str, str] = {}
        shape = (batch, backbone.get('in_channels', 3), *image_size)
        generator = torch.Generator().manual_seed(0)
        self._images = torch.randn(shape, generator=generator).to(self._device)
        for peer in peers:
            torch.manual_seed(0)
            try:
                variant = peer.build(backbone)
                variant.model.to(self._device)
                if variant.needs_warm_up:
                    variant(self._images)
            except UserError as error:
                self.refused[peer.name] = str(error)
            else:
                self.ready.append((peer, variant))

    def step(self, variant: Variant) -> Dict[str, Any]:
        """Run one forward and backward pass and measure it."""

        def run() -> None:
            outputs = output_list(variant(self._images))
            losses = [output.float().sum() for output in outputs]
            sum(losses[1:], losses[0]).backward()

        return measured_step(variant.model, run, self._device)


def benchmark_peers(
    peers: Sequence[Peer],
    backbone: Dict[str, Any],
    image_size: Sequence[int],
    batch: int,
    device: str,
    rounds: int,
    warm_up: int,
    count_memory: bool = True,
    after: Callable[[str], None] = lambda label: None,
) -> List[Dict[str, Any]]:
    """Measure training steps of all peers, interleaved, in float32.

    Args:
        peers: What is measured.
        backbone: Arguments of the backbone, of either class.
        image_size: Height and width in pixels, behind the frames of videos.
        batch: Images or videos.
        device: 'cpu' or 'cuda'.
        rounds: Measured steps of each.
        warm_up: Steps of each before.
        count_memory: Whether to count memory on meta tensors.
        after: Called with a label after each step.

    Returns:
        One dictionary a peer: those of :func:`~.report.summarize` and of
        :func:`~dr2net_mm.analysis.memory.peer_memory.count_peer`; or mode, trains and
        reason.
    """
    bench = PeerBench(peers, backbone, image_size, batch, device)
    results = interleave(
        [partial(bench.step, variant) for _, variant in bench.ready],
        rounds,
        warm_up,
        lambda index: after(bench.ready[index][0].name),
    )
    cases = [
        Case(_REFERENCES.get(peer.name, peer.name), peer.name, {}, '', 'fp32')
        for peer, _ in bench.ready
    ]
    memory: List[Optional[int]] = [
        max((result.get('memory_bytes', 0) for result in found), default=0) or None
        for found in results
    ]
    seconds = [[result['seconds'] for result in found] for found in results]
    timed = dict()
    for row, (peer, _) in zip(summarize(cases, seconds, memory, batch), bench.ready):
        timed[peer.name] = dict(row, mode=peer.name, trains=peer.trains)
    rows = []
    for peer in peers:
        if peer.name in bench.refused:
            reason = bench.refused[peer.name]
            rows.append(dict(mode=peer.name, trains=peer.trains, reason=reason))
            continue
        counted = count_peer(peer, backbone, image_size, batch) if count_memory else {}
        rows.append({**timed[peer.name], **counted})
    return rows


def peer_time_table(rows: Sequence[Dict[str, Any]]) -> str:
    """Format the rows of :func:`benchmark_peers` as text."""
    header = ['way to train', 'trains', 'ms/step', 'quartiles', 'time/conv.']
    header += ['time/with_cp', 'peak [GB]', 'moved [GB]']
    lines = []
    for row in rows:
        if 'reason' in row:
            continue
        cells = [row['mode'], row['trains']]
        if row['seconds'] is None:
            cells += ['out of memory', '-']
        else:
            low, median, high = (
                f'{1000 * row["seconds"][name]:.0f}'
                for name in ('lower_quartile', 'median', 'upper_quartile')
            )
            cells += [median, f'{low}-{high}']
        for reference in ('conventional', 'checkpoint'):
            ratio = row[f'time_to_{reference}']
            cells.append('-' if ratio is None else f'{ratio:.2f}')
        for key in ('peak_bytes', 'moved_bytes'):
            cells.append(gigabytes(row[key]) if row.get(key) else '-')
        lines.append(cells)
    left_out = [f'{row["mode"]}: {row["reason"]}' for row in rows if 'reason' in row]
    return '\n'.join([format_table(header, lines), *left_out])


def check_peers(options: argparse.Namespace) -> None:
    """Raise a UserError if an option does not go with ``--peers``."""
    for flag, given in (
        ('--detector', options.detector),
        ('--sweep', options.sweep),
        ('--plot', options.plot),
        ('--precision', options.precision not in (None, ['fp32'])),
    ):
        if given:
            raise UserError(f'--peers compares backbones in fp32; leave out {flag}')


def run_peers(
    options: argparse.Namespace,
    backbone: Dict[str, Any],
    size: Sequence[int],
    device: str,
    dual_residual: Dict[str, Any],
) -> None:
    """Measure all peers as the command line says, print them and write JSON.

    Args:
        options: The command line.
        backbone: Arguments of the backbone.
        size: Height and width in pixels, behind the frames of videos.
        device: 'cpu' or 'cuda'.
        dual_residual: Options of ours.
    """
    chosen = chosen_peers(dual_residual, options.budget)
    progress = Progress(len(chosen) * (options.rounds + options.warm_up))
    with warnings.catch_warnings():
        ignore_known_warnings()
        rows = benchmark_peers(
            chosen,
            backbone,
            size,
            options.batch,
            device,
            options.rounds,
            options.warm_up,
            not options.no_memory,
            progress.step,
        )
    print(peer_time_table(rows))
    if options.json:
        result = dict(
            name=options.backbone or options.config,
            image_size=list(size),
            batch=options.batch,
            rounds=options.rounds,
            hardware=hardware(device),
            rows=rows,
        )
        write_json(options.json, result)
        print(f'written: {options.json}')
