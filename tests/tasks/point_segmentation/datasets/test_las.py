"""LAS and LAZ files, written by laspy."""

import builtins

import numpy as np
import pytest

from dr2net_mm.errors import DataFileError, UserError
from dr2net_mm.tasks.point_segmentation.datasets import LasDataset

laspy = pytest.importorskip('laspy')

CLASSES = dict(ground=[2, 9], tree=[5])


@pytest.fixture
def write(tmp_path):
    def write(name='a.las', colors=True, points=200, top=65535):
        generator = np.random.default_rng(0)
        las = laspy.create(point_format=3 if colors else 1, file_version='1.2')
        las.header.scales = [0.01] * 3
        xyz = generator.random((points, 3)) * [100, 50, 10] + [1000, 2000, 300]
        las.x, las.y, las.z = xyz.T
        las.classification = generator.choice([2, 5, 9, 7], points)
        las.intensity = generator.integers(0, 1000, points)
        if colors:
            las.red, las.green, las.blue = generator.integers(0, top + 1, (3, points))
        las.write(str(tmp_path / name))
        return str(tmp_path)

    return write


def cloud_of(root, name='a.las', **changes):
    arguments = dict(data_root=root, files=[name], classes=CLASSES, test_mode=True)
    return LasDataset(**{**arguments, 'voxel_size': 1e-3, **changes}).clouds[0].whole


def test_a_file_becomes_a_cloud(write, log_lines):
    root = write()
    found, las = cloud_of(root), laspy.read(f'{root}/a.las')
    xyz = np.stack([las.x, las.y, las.z], axis=1)
    np.testing.assert_allclose(found.positions, xyz - xyz.min(0), atol=1e-5)
    codes = np.asarray(las.classification)
    wanted = np.select([np.isin(codes, [2, 9]), codes == 5], [0, 1], 255)
    np.testing.assert_array_equal(found.labels, wanted)
    np.testing.assert_array_equal(found.colors[:, 1], las.green // 256)
    (line,) = [line for line in log_lines if 'codes without' in line]
    assert f'ground {(wanted == 0).sum()}' in line and line.endswith('[7]')


def test_compressed_files_are_the_same(write):
    pytest.importorskip('lazrs')
    root = write()
    write('a.laz')
    one, other = cloud_of(root), cloud_of(root, 'a.laz')
    np.testing.assert_array_equal(one.positions, other.positions)


def test_colors_of_bytes_and_of_intensity(write):
    root = write(top=255)
    np.testing.assert_array_equal(
        cloud_of(root).colors[:, 0], laspy.read(f'{root}/a.las').red
    )
    gray = cloud_of(write('b.las', colors=False), 'b.las').colors
    assert gray.min() == 0 and gray.max() == 255 and (gray[:, 0] == gray[:, 2]).all()


def test_regions_set_parts_of_a_file_apart(write):
    root = write()
    whole = cloud_of(root)
    parts = [
        cloud_of(root, region=region) for region in [(0, 0, 0.6, 1), (0.6, 0, 1, 1)]
    ]
    assert sum(len(part.labels) for part in parts) == len(whole.labels)
    assert parts[0].positions[:, 0].max() <= 60.01
    assert parts[1].positions[:, 0].max() <= 40.01


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(classes=dict(a=[2], b=[2])), 'each code of the files to one class'),
        (dict(classes={}), 'each code'),
        (dict(region=(0, 0, 0, 1)), 'shares of the extent'),
        (dict(files=[]), 'files is empty'),
    ],
)
def test_wrong_arguments_are_named(change, message, write):
    with pytest.raises(ValueError, match=message):
        cloud_of(write(), **change)


def test_files_that_cannot_be_used_are_named(write, tmp_path):
    root = write()
    with pytest.raises(DataFileError, match='c.las is no file'):
        cloud_of(root, 'c.las')
    (tmp_path / 'c.las').write_bytes(b'LASF but not quite')
    with pytest.raises(DataFileError, match='c.las is no readable LAS file'):
        cloud_of(root, 'c.las')
    with pytest.raises(DataFileError, match=r'codes \[2, 5, 7, 9\] and no point'):
        cloud_of(root, classes=dict(water=[11]))


def test_without_laspy_the_message_names_it(write, monkeypatch):
    root, real = write(), builtins.__import__

    def without(name, *args, **kwargs):
        if name == 'laspy':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(UserError, match=r"pip install 'laspy\[lazrs\]'"):
        cloud_of(root)
