"""A small folder in the formats of A2D-Sentences, with its known irregularities."""

from pathlib import Path
from typing import List

import cv2
import h5py
import numpy as np
import pytest

from dr2net_mm.first_runs.data.video_files import write_video

HEIGHT, WIDTH, LENGTH = 48, 64, 12
VIDEOSET = """first,3,0,1,48,64,12,3,0
second,3,0,1,48,64,12,3,0
third,3,0,1,48,64,12,3,1
missed,3,0,1,48,64,12,3,0
e7Kjy13woXg,3,0,1,48,64,12,3,0
"""
SENTENCES = """video_id,instance_id,query
first,1,"a Dog,   running left"
first,3,a bird
second,1,a bird on the right
third,1,a cat
third,1,the only  cat
first,1 (copy),"a Dog,   running left"
missed,1,a fish
e7Kjy13woXg,1,a fish
"""
#: Instances of the annotated frames; ids are not contiguous, one is missing in a frame.
FRAMES = {
    'first': {2: [1, 3], 7: [1, 3], 11: [1]},
    'second': {5: [1]},
    'third': {12: [1, 2]},
    'missed': {},
    'e7Kjy13woXg': {5: [1]},
}


def rectangle(number: int) -> np.ndarray:
    """Mask of an instance, not symmetric in any way."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4 : 4 + 6 * number, 8 : 8 + 9 * number] = 1
    return mask


def write_masks(path: Path, ids: List[int]) -> None:
    """Write an annotation as MATLAB stores it, axes reversed."""
    masks = np.stack([rectangle(number).T for number in ids])
    with h5py.File(path, 'w') as file:
        file['instance'] = np.array(ids, np.float64)[None]
        file['reMask'] = masks[0] if len(ids) == 1 else masks
        file['reBBox'] = np.zeros((4, len(ids)))
        # Longer than the instances, as in some files.
        file['id'] = np.zeros((1, len(ids) + 1))


def frames_of(name: str) -> np.ndarray:
    """Frames that grow brighter, so that a frame tells its number."""
    start = 20 * len(name) % 50
    levels = np.arange(LENGTH)[:, None, None, None] * 15 + start
    return np.broadcast_to(levels, (LENGTH, HEIGHT, WIDTH, 3)).astype(np.uint8)


def write_a2d(root: Path) -> Path:
    videos, texts = root / 'Release/clips320H', root / 'text_annotations'
    instances = texts / 'a2d_annotation_with_instances'
    for folder in (videos, instances):
        folder.mkdir(parents=True)
    (root / 'Release/videoset.csv').write_text(VIDEOSET)
    (texts / 'a2d_annotation.txt').write_text(SENTENCES)
    (texts / 'a2d_missed_videos.txt').write_text('missed\n')
    for name, frames in FRAMES.items():
        write_video(videos / f'{name}.mp4', frames_of(name), 25)
        (instances / name).mkdir()
        for number, ids in frames.items():
            write_masks(instances / name / f'{number:05d}.h5', ids)
    return root


class A2DTools:
    write = staticmethod(write_a2d)
    write_masks = staticmethod(write_masks)
    rectangle = staticmethod(rectangle)
    frames_of = staticmethod(frames_of)


@pytest.fixture(scope='session')
def a2d_tools():
    cv2.setNumThreads(1)
    return A2DTools()


@pytest.fixture(scope='session')
def a2d(tmp_path_factory) -> Path:
    """The folder; tests must not change it."""
    return write_a2d(tmp_path_factory.mktemp('a2d'))
