"""A picture of a labeled cloud, what was predicted for it, and where that is wrong."""

from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dr2net_mm.atomic_file import atomic_open

#: One color a class, in the order of S3DIS.
CLASS_COLORS = (
    '#7f7f7f', '#c49c6c', '#aec7e8', '#9467bd', '#1b7837', '#17becf', '#8c564b',
    '#d62728', '#ff7f0e', '#e7ba52', '#e377c2', '#2c2c2c', '#bcbd22',
)  # fmt: skip
RIGHT, WRONG = '#d0d0d0', '#d62728'

#: Direction that the cloud is seen from, degrees about and above the horizontal plane.
AZIMUTH, ELEVATION = -60.0, 38.0

Panel = Tuple[str, np.ndarray]


def projected(positions: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Places in the picture [n, 2] and depth [n] of positions [n, 3]."""
    turn, lift = np.radians(AZIMUTH), np.radians(ELEVATION)
    right = np.array([-np.sin(turn), np.cos(turn), 0.0])
    toward = np.array(
        [np.cos(turn) * np.cos(lift), np.sin(turn) * np.cos(lift), np.sin(lift)]
    )
    up = np.cross(toward, right)
    return positions @ np.stack([right, up], axis=1), positions @ toward


def draw_cloud(
    positions: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    out: Path,
    title: str = '',
) -> None:
    """Draw ground truth, prediction and errors side by side to a PNG file.

    Args:
        positions: [n, 3].
        labels: Classes [n].
        predicted: Classes [n].
        classes: Their names.
        out: The picture.
        title: Of the picture.
    """
    places, depth = projected(positions.astype(np.float64))
    order = np.argsort(depth, kind='stable')
    colors = np.array(CLASS_COLORS)
    wrong = np.where(labels == predicted, RIGHT, WRONG)
    share = float((labels != predicted).mean())
    panels: List[Panel] = [
        ('ground truth', colors[labels % len(colors)]),
        ('prediction', colors[predicted % len(colors)]),
        (f'errors ({share:.0%} of these points)', wrong),
    ]
    figure = Figure(figsize=(13, 5), layout='constrained')
    for axes, (name, shown) in zip(figure.subplots(1, 3), panels):
        axes.scatter(
            places[order, 0], places[order, 1], s=3, c=np.asarray(shown)[order], lw=0
        )
        axes.set_title(name, fontsize='medium')
        axes.set_aspect('equal')
        axes.axis('off')
    present = np.union1d(labels, predicted)
    handles = [
        Line2D([], [], ls='', marker='o', color=colors[i % len(colors)], label=name)
        for i, name in enumerate(classes)
        if i in present
    ]
    figure.legend(
        handles=handles, loc='outside lower center', ncols=7, fontsize='small'
    )
    figure.suptitle(title, fontsize='medium')
    with atomic_open(out) as file:
        figure.savefig(file, dpi=110, format='png')
