"""What the tests of VSGN share: a tiny model and videos that it can learn."""

from typing import List, Sequence, Tuple

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor

from dr2net_mm.tasks.temporal_detection.models.vsgn import VSGN
from dr2net_mm.tasks.temporal_detection.segments import segment_iou

CHANNELS, LENGTH = 8, 64


class VSGNTools:
    """A tiny VSGN, and features in which actions are another direction than rest."""

    channels = CHANNELS
    length = LENGTH

    def build(self, seed: int = 0, **changes) -> VSGN:
        torch.manual_seed(seed)
        narrow = dict(
            type='VSGN',
            in_channels=CHANNELS,
            temporal_length=LENGTH,
            channels=32,
            num_levels=3,
            num_neighbors=4,
            tower_depth=1,
            norm_groups=8,
        )
        return MODELS.build(dict(narrow, **changes))

    def features(self, size: int = 2, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(size, CHANNELS, LENGTH, generator=generator)

    def videos(self, size: int, seed: int) -> Tuple[Tensor, List[List[List[float]]]]:
        """Features [B, C, T] with one or two actions each, and their segments."""
        generator = torch.Generator().manual_seed(seed)
        direction = torch.linspace(-1, 1, CHANNELS)[:, None]
        features, segments = [], []
        for _ in range(size):
            x = 0.5 * torch.randn(CHANNELS, LENGTH, generator=generator)
            rows = []
            for start in (0, LENGTH // 2)[
                : 1 + int(torch.rand(1, generator=generator) > 0.4)
            ]:
                first = start + int(torch.randint(2, 10, (1,), generator=generator))
                last = first + int(torch.randint(10, 20, (1,), generator=generator))
                x[:, first:last] += 2 * direction
                rows.append([first / LENGTH, last / LENGTH])
            features.append(x)
            segments.append(rows)
        return torch.stack(features), segments

    def average_precision(
        self, results: Sequence[dict], truths: Sequence, seconds: float, tiou: float
    ) -> float:
        """Area under precision over recall, all videos' proposals in one ranking."""
        left = [torch.tensor(rows).view(-1, 2) * seconds for rows in truths]
        total = sum(len(rows) for rows in left)
        ranking = sorted(
            (
                (proposal['score'], video, proposal['segment'])
                for video, result in enumerate(results)
                for proposal in result['proposal_list']
            ),
            reverse=True,
        )
        hits, area = 0, 0.0
        for rank, (_, video, segment) in enumerate(ranking, start=1):
            if not len(left[video]):
                continue
            iou, best = segment_iou(torch.tensor([segment]), left[video])[0].max(dim=0)
            if iou >= tiou:
                keep = torch.arange(len(left[video])) != best
                left[video] = left[video][keep]
                hits += 1
                area += hits / rank
        return area / total


@pytest.fixture(scope='session')
def vsgn() -> VSGNTools:
    return VSGNTools()
