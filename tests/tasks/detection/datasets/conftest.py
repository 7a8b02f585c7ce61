"""A small annotation file in COCO's format, to be damaged."""

import json
from pathlib import Path
from typing import Any, Callable, List

import pytest

from dr2net_mm.tasks.detection.datasets.coco_check import check_coco_file
from dr2net_mm.tasks.detection.datasets.coco_findings import CocoUse, Finding

CLASSES = ('cat', 'dog', 'owl')


class CocoContent(dict):
    """Three images of 100 x 80 pixels with a box of another class on each."""

    def __init__(self) -> None:
        size = dict(width=100, height=80)
        super().__init__(
            images=[dict(id=n, file_name=f'{n}.png', **size) for n in (1, 2, 3)],
            annotations=[
                dict(
                    id=n + 6, image_id=n, category_id=n, iscrowd=0,
                    bbox=[10 * n, 5, 30, 40], area=1200,
                )
                for n in (1, 2, 3)
            ],
            categories=[dict(id=n + 1, name=name) for n, name in enumerate(CLASSES)],
        )  # fmt: skip

    def write(self, folder: Path) -> str:
        path = folder / 'coco.json'
        path.write_text(json.dumps(self))
        return str(path)

    def add(self, **fields: Any) -> None:
        """Add an annotation to the first image."""
        extra = {**self['annotations'][0], 'id': len(self['annotations']) + 100}
        self['annotations'].append({**extra, **fields})


@pytest.fixture
def content() -> CocoContent:
    return CocoContent()


@pytest.fixture
def findings(content: CocoContent, tmp_path: Path) -> Callable[..., List[Finding]]:
    """Findings on the content as it is by then."""

    def check(**use: Any) -> List[Finding]:
        use.setdefault('classes', CLASSES)
        return check_coco_file(content.write(tmp_path), CocoUse(**use)).findings

    return check
