"""Sweeps of a benchmark over sizes or depths."""

import argparse
from typing import Iterator, List, Optional, Sequence, Tuple

from dr2net_mm.analysis.subjects.backbones import depths_of, with_depths
from dr2net_mm.analysis.subjects.timm_models import fitted, is_timm
from dr2net_mm.cli.command import positive_int
from dr2net_mm.errors import UserError

from .cases import Subject

SWEEPS = ('img-size', 'depth')


def sweep_subjects(
    options: argparse.Namespace, subject: Subject
) -> Iterator[Tuple[Optional[int], Subject]]:
    """Return the subjects of a sweep with the values that they differ in."""
    if options.sweep is None:
        yield None, subject
        return
    kind, values = options.sweep
    for value in values:
        if kind == 'img-size':
            frames = subject.image_size[:-2]
            backbone = subject.backbone
            if is_timm(backbone):
                backbone = fitted(backbone, [(value, value)])
            yield (
                value,
                subject._replace(backbone=backbone, image_size=(*frames, value, value)),
            )
            continue
        depths = depths_of(subject.backbone)
        depths[depths.index(max(depths))] = value
        backbone = with_depths(subject.backbone, depths)
        yield value, subject._replace(backbone=backbone)


def parse_sweep(values: Sequence[str]) -> Tuple[str, List[int]]:
    """Parse and check `--sweep KIND VALUE …`.

    Raises:
        UserError: if the kind is unknown, or there are not two values or more.
    """
    kind, numbers = values[0], values[1:]
    if kind not in SWEEPS or len(numbers) < 2:
        raise UserError(
            f'--sweep {" ".join(values)}: give one of {", ".join(SWEEPS)} and at least '
            'two values, such as --sweep img-size 256 512 1024'
        )
    try:
        return kind, sorted({positive_int(number) for number in numbers})
    except argparse.ArgumentTypeError as error:
        raise UserError(f'--sweep {kind}: {error}') from error
