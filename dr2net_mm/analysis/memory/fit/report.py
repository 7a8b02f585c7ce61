"""The plan of a training that fits, as ``memory.py --fit`` prints it."""

import argparse
import functools
import os
import re
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mmengine.config import Config

from dr2net_mm.analysis.memory.plan_report import stage_costs
from dr2net_mm.analysis.subjects.backbones import (
    build_backbone,
    has_with_cp,
    packaged_config,
    reversible_backbone,
)
from dr2net_mm.analysis.subjects.detectors import (
    AS_IT_IS,
    HEADS,
    config_detector,
    savings_of,
)
from dr2net_mm.cli.output import format_table
from dr2net_mm.cli.progress import Progress
from dr2net_mm.config_file import load_config
from dr2net_mm.errors import UserError
from dr2net_mm.reversible.plan import nothing_stored, peak_bytes

from .config_lines import config_lines
from .search import Candidate, Search
from .training_memory import Setting, Training, TrainingMemory

UNITS = dict(KB=1e3, MB=1e6, GB=1e9, KiB=2**10, MiB=2**20, GiB=2**30)
_SIZE = re.compile(r'([0-9.]+(?:e[0-9]+)?)\s*([KMG]i?B)?', re.IGNORECASE)
_UNITS = {name.lower(): value for name, value in UNITS.items()}


def byte_size(text: str) -> int:
    """Parse a number of bytes, such as 12e9, 24GB or 80GiB."""
    match = _SIZE.fullmatch(text.strip())
    try:
        size = float(match[1]) * _UNITS.get((match[2] or '').lower(), 1)  # type: ignore[index]
    except (TypeError, ValueError):
        size = 0
    if size < 1e6:
        raise argparse.ArgumentTypeError(
            f'{text} is no size of a memory of at least 1 MB; accepted: bytes, such as '
            f'12e9, or a number with {", ".join(UNITS)}'
        )
    return int(size)


def plan_training(
    path: str,
    limit: int,
    image_size: Sequence[int],
    batch: Optional[int] = None,
    boxes: int = 8,
    amp: Optional[str] = None,
    cuda: bool = True,
) -> Dict[str, Any]:
    """Plan the training of a config within a limit of memory, and print the plan.

    Args:
        path: The config, a file or one of mmdet's own as ``mmdet::…``.
        limit: Bytes.
        image_size: Height and width in pixels.
        batch: Images of a pass on one device, at most; by default the config's.
        boxes: Boxes of an image.
        amp: 'bf16' or 'fp16' for mixed precision; by default the config's, and bf16 if
            nothing fits without.
        cuda: Whether to count as on CUDA, or as on the CPU.

    Returns:
        The limit, all settings that were counted, and the lines of the best.

    Raises:
        UserError: If nothing fits, with the least there is.
    """
    detector = config_detector(path, HEADS)
    config = packaged_config(path) if '::' in path else load_config(path)
    accumulate = config.optim_wrapper.get('accumulative_counts', 1)
    batch = batch or config.train_dataloader.batch_size
    training = Training(config, detector, image_size, boxes, cuda)

    ours = reversible_backbone(detector['backbone'])['type']
    given = config.model.backbone.type == ours
    backbones = ['dr2'] if given else ['conventional', 'checkpoint', 'dr2']
    if not has_with_cp(detector['backbone']) and not given:
        backbones.remove('checkpoint')
    rests = (AS_IT_IS, *savings_of(detector))
    # Each with the whole batch and one image, and a budget for ours.
    progress = Progress((2 * len(backbones) + 1) * len(rests))

    def count(setting: Setting) -> TrainingMemory:
        memory = training.count(setting)
        progress.step(f'{setting.backbone} {setting.rest}, batch {setting.batch}')
        return memory

    def budgets(batch: int, precision: str) -> Tuple[int, int]:
        backbone = build_backbone(reversible_backbone(detector['backbone']))
        size = 4 if precision == 'fp32' else 2
        stages = stage_costs(backbone, image_size, batch, size)
        everything = [[True] * len(stage.steps) for stage in stages]
        least = peak_bytes(stages, nothing_stored(stages))
        return least, peak_bytes(stages, everything)

    search = Search(count, limit, functools.lru_cache(maxsize=None)(budgets))
    precisions = _precisions(config, amp)
    best = search.best(batch, backbones, rests, precisions, accumulate)
    progress.close()
    print(candidate_table(search.candidates))
    if best is None:
        least = min(search.candidates, key=lambda found: found.memory.total)
        missing = least.memory.total - limit
        raise UserError(
            f'nothing fits {limit / 1e9:.2f} GB: the least is '
            f'{least.memory.total / 1e9:.2f} GB ({_words(least.setting)}), '
            f'{missing / 1e9:.2f} GB more; try a smaller --img-size, or an optimizer '
            'with less state'
        )
    base = path if '::' in path else os.path.abspath(path)
    lines = config_lines(base, config, best.setting)
    _print_best(best, limit, lines)
    rows = [
        dict(found.setting._asdict(), **asdict(found.memory), fits=found.fits)
        for found in search.candidates
    ]
    return dict(limit=limit, settings=rows, config=lines)


def _precisions(config: Config, amp: Optional[str]) -> List[str]:
    """Return the precisions to try, in order."""
    if amp:
        return [amp]
    if config.optim_wrapper.get('type') == 'AmpOptimWrapper':
        half = config.optim_wrapper.get('dtype') == 'bfloat16'
        return ['bf16' if half else 'fp16']
    return ['fp32', 'bf16']


def candidate_table(candidates: Sequence[Candidate]) -> str:
    """Format what was counted, the least work that fits first."""
    least = min(found.memory.multiply_adds for found in candidates)
    header = ['setting', 'batch', 'weights', 'gradients', 'optimizer']
    header += ['activations', 'total [GB]', 'work', 'fits']
    lines = []
    for setting, memory, fits in candidates:
        parts = (memory.weights, memory.gradients, memory.optimizer)
        sizes = (*parts, memory.activations, memory.total)
        batch = f'{setting.batch} x {setting.accumulate}'
        lines.append(
            [
                _words(setting, batch=False),
                batch,
                *(f'{size / 1e9:.3f}' for size in sizes),
                f'{memory.multiply_adds / least:.3f}',
                'yes' if fits else 'no',
            ]
        )
    return format_table(header, lines)


def _words(setting: Setting, batch: bool = True) -> str:
    words = ['with_cp' if setting.backbone == 'checkpoint' else setting.backbone]
    if setting.memory_budget is not None:
        words.append(f'(budget {setting.memory_budget / 1e9:.3g} GB)')
    if setting.rest != AS_IT_IS:
        words.append(f'+ {setting.rest}')
    words.append(f', {setting.precision}')
    if batch:
        words.append(f', batch {setting.batch} x {setting.accumulate}')
    return ' '.join(words).replace(' ,', ',')


def _print_best(best: Candidate, limit: int, lines: Sequence[str]) -> None:
    memory = best.memory
    print(
        f'\nleast work that fits {limit / 1e9:.2f} GB: {_words(best.setting)}, '
        f'{memory.total / 1e9:.2f} GB. Not in it: the context of CUDA (about 0.5 GB), '
        'what its\nallocator leaves unused, and buckets of DDP '
        f'({memory.gradients / 1e9:.2f} GB without gradient_as_bucket_view).\n'
    )
    print('\n'.join(lines))
