"""Local video files are opened by their path."""

import pytest
from mmaction.datasets.transforms import DecordInit
from mmengine.registry import TRANSFORMS, init_default_scope

from dr2net_mm.tasks.temporal_detection.datasets.transforms import DecordFileInit


@pytest.mark.parametrize('file', ['v_one.mp4', 'v_one.avi'])
def test_a_video_is_opened_as_mmaction_opens_it(videos, file):
    path = str(videos.add('one', frames=24, file=file))
    init_default_scope('mmaction')
    ours = TRANSFORMS.build(dict(type='DecordFileInit'))(dict(filename=path))
    theirs = DecordInit()(dict(filename=path))
    for key in ('total_frames', 'avg_fps'):
        assert ours[key] == theirs[key]
    frames = [reader['video_reader'].get_batch([0, 9, 23]) for reader in (ours, theirs)]
    assert (frames[0].asnumpy() == frames[1].asnumpy()).all()


@pytest.mark.parametrize('share', [0.25, 0.5, 0.75])
def test_a_truncated_file_is_shorter_or_an_error_and_never_ends_the_process(
    videos, share
):
    path = videos.add('one', frames=120, file='v_one.avi')
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    opened = DecordFileInit()(dict(filename=str(path)))
    assert opened['total_frames'] < 120


def test_other_storage_is_read_as_mmaction_does(videos, monkeypatch):
    asked = []
    monkeypatch.setattr(
        DecordInit, '_get_video_reader', lambda self, name: asked.append(name)
    )
    DecordFileInit(io_backend='petrel')._get_video_reader('s3://bucket/a.mp4')
    DecordFileInit()._get_video_reader(str(videos.add('one')))
    assert asked == ['s3://bucket/a.mp4']
