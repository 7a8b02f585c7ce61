"""Small untrimmed videos, written as files, with annotations."""

import json
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterable, Optional

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

# decord decodes MJPEG of widths that 32 divides only.
FPS, HEIGHT, WIDTH = 10, 32, 64


def level(index: int) -> int:
    """Brightness of a frame; video compression changes it by a few."""
    return 15 + 32 * (index // 4 % 8)


@lru_cache(maxsize=None)
def encoded(suffix: str, frames: int) -> bytes:
    """Content of a video file."""
    code = 'MJPG' if suffix == '.avi' else 'mp4v'
    with TemporaryDirectory() as folder:
        path = Path(folder) / f'video{suffix}'
        writer = cv2.VideoWriter(
            str(path), cv2.VideoWriter_fourcc(*code), FPS, (WIDTH, HEIGHT)
        )
        for index in range(frames):
            writer.write(np.full((HEIGHT, WIDTH, 3), level(index), np.uint8))
        writer.release()
        return path.read_bytes()


class VideoSet:
    """A folder of video files and an annotation file in ActivityNet's format."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / 'videos'
        self.folder.mkdir()
        self.annotation_file = root / 'annotations.json'
        self.database: Dict[str, dict] = {}

    def add(
        self,
        video_id: str,
        *segments: tuple,
        frames: int = 40,
        subset: str = 'training',
        duration: Optional[float] = None,
        file: Optional[str] = '',
    ) -> Path:
        """Annotate a video with (start, end, label) and write its file.

        ``file`` is another name for it, or None for no file.
        """
        self.database[video_id] = dict(
            subset=subset,
            duration=frames / FPS if duration is None else duration,
            annotations=[dict(segment=[s, e], label=label) for s, e, label in segments],
        )
        self.save()
        path = self.folder / (file or f'v_{video_id}.mp4')
        if file is not None:
            self.write(path, frames)
        return path

    def write(self, path: Path, frames: int) -> None:
        path.write_bytes(encoded(path.suffix.lower(), frames))

    @staticmethod
    def levels(indices: Iterable[int]) -> torch.Tensor:
        """Brightness of frames."""
        return torch.tensor([float(level(index)) for index in indices])

    def save(self) -> None:
        content = dict(version='1.3', database=self.database, taxonomy=[])
        self.annotation_file.write_text(json.dumps(content))

    def config(self, **options: Any) -> dict:
        return dict(
            type='VideoLocalizationDataset',
            ann_file='annotations.json',
            data_root=str(self.root),
            data_prefix=dict(video='videos'),
            pipeline=options.pop('pipeline', []),
            # MMEngine collects garbage each time that it serializes annotations.
            serialize_data=options.pop('serialize_data', False),
            **options,
        )


@pytest.fixture
def videos(tmp_path: Path) -> VideoSet:
    return VideoSet(tmp_path)


@pytest.fixture
def pipeline() -> Callable[..., list]:
    """The pipeline of the configs at a small size, for 16 frames of 16 x 16 pixels."""

    def build(
        num_frames: int = 16, reader: str = 'DecordFile', **sampling: Any
    ) -> list:
        return [
            dict(type=f'{reader}Init'),
            dict(type='SampleWholeVideo', num_frames=num_frames, **sampling),
            dict(type=f'{reader.replace("File", "")}Decode'),
            dict(type='Resize', scale=(-1, 20)),
            dict(type='CenterCrop', crop_size=16),
            dict(type='Flip', flip_ratio=0.5),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='GenerateSegmentLabels'),
            dict(type='PackVideoLocalizationInputs'),
        ]

    return build


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmaction')
