"""S3DIS from text files: what is read, repaired and refused."""

import numpy as np
import pytest

from dr2net_mm.errors import DataFileError
from dr2net_mm.tasks.point_segmentation.datasets import S3DISDataset
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_areas import (
    load_area,
    prepare_area,
)
from dr2net_mm.tasks.point_segmentation.datasets.s3dis_text import (
    CLASSES,
    object_files,
    read_object,
)
from tests.tasks.point_segmentation.datasets.toolbox import write_object

ROWS = [(1.5, 2.25, -0.5, 10, 20, 30), (1.0, 2.0, 0.0, 0, 255, 7)]


@pytest.fixture
def raw(tmp_path):
    """An area of two rooms."""
    area = tmp_path / 'raw' / 'Area_5'
    write_object(area / 'office_1', 'chair_1', ROWS)
    write_object(area / 'office_1', 'wall_2', [(4, 6, 1, 1, 2, 3)])
    write_object(area / 'hallway_6', 'stairs_1', [(0, 0, 0, 9, 9, 9)])
    # What a desktop leaves, and the whole room, which nothing needs.
    (area / 'office_1' / 'Annotations' / '.DS_Store').write_bytes(b'\x00')
    (area / 'office_1' / 'Annotations' / 'Icon').write_bytes(b'')
    (area / 'office_1' / 'Annotations' / '._chair_1.txt').write_bytes(b'\x00\x05')
    (area / 'office_1' / 'office_1.txt').write_text('no points\n')
    (area / 'ReadMe.txt').write_text('rooms\n')
    return tmp_path / 'raw'


def test_an_area_is_the_objects_of_its_rooms(raw, tmp_path):
    rooms = []
    made = prepare_area(raw, 5, tmp_path, lambda: rooms.append(1))
    assert (made.rooms, made.points, made.repairs, len(rooms)) == (2, 4, [], 2)
    cloud = load_area(tmp_path, 5)
    # hallway_6 first; its stairs are clutter. The least coordinates become 0.
    assert [CLASSES[label] for label in cloud.labels] == [
        'clutter', 'chair', 'chair', 'wall',
    ]  # fmt: skip
    wanted = [[0, 0, 0.5], [1.5, 2.25, 0], [1, 2, 0.5], [4, 6, 1.5]]
    np.testing.assert_array_equal(cloud.positions, wanted)
    assert cloud.positions.dtype == np.float32 and cloud.colors.dtype == np.uint8
    assert cloud.colors.tolist()[:2] == [[9, 9, 9], [10, 20, 30]]


def test_the_known_broken_line_is_repaired_with_a_message(tmp_path):
    """Area_5/hallway_6/Annotations/ceiling_1.txt has a control byte for a space."""
    path = write_object(
        tmp_path, 'ceiling_1', b'1.0 2.0 3.0 4 5 6\n22.3 6.7 3.3 185\x10187 182\n'
    )
    found = read_object(path)
    assert found.colors.tolist() == [[4, 5, 6], [185, 187, 182]]
    (repair,) = found.repairs
    assert str(path) in repair and 'line 2' in repair


@pytest.mark.parametrize(
    'bad, number',
    [
        (b'1 2 3 4 5', 2),
        (b'1 2 3 4 5 6 7', 2),
        (b'1 2 3 4 5 x', 2),
        (b'nan 2 3 4 5 6', 2),
        (b'1 inf 3 4 5 6', 2),
        (b'1 2 3 4 5 256', 2),
        (b'1 2 3 4 5 -1', 2),
        (b'1 2 3 4 5 6.5', 2),
        # A digit is lost: Area_3/hallway_2 has such a line. Nobody knows the number.
        (b'-9.1\x100 2 3 4 5 6', 2),
        # Together as many numbers as two good lines.
        (b'1 2 3 4 5\n6 1 2 3 4 5 6', 2),
    ],
)
def test_any_other_line_is_an_error_that_names_it(bad, number, tmp_path):
    path = write_object(tmp_path, 'chair_1', b'1 2 3 4 5 6\n' + bad + b'\n')
    with pytest.raises(DataFileError, match=rf'chair_1.txt, line {number} is .* not x'):
        read_object(path)


def test_a_broken_object_stops_the_area_and_writes_nothing(raw, tmp_path):
    write_object(raw / 'Area_5' / 'office_1', 'table_1', '1 2 three 4 5 6\n')
    with pytest.raises(DataFileError, match='table_1.txt, line 1'):
        prepare_area(raw, 5, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('end', ['', '\n', '\r\n', '\n\n  \n'])
def test_ends_of_lines_do_not_matter(end, tmp_path):
    line = '\r\n' if '\r' in end else '\n'
    text = line.join(' '.join(map(str, row)) for row in ROWS) + end
    found = read_object(write_object(tmp_path, 'chair_1', text))
    np.testing.assert_array_equal(found.positions, [row[:3] for row in ROWS])


def test_an_empty_file_and_an_unknown_class_are_named(tmp_path):
    with pytest.raises(DataFileError, match='holds no points'):
        read_object(write_object(tmp_path, 'chair_1', '\n'))
    write_object(tmp_path, 'lamp_1', ROWS)
    with pytest.raises(DataFileError, match="lamp_1.txt: 'lamp' is none of"):
        object_files(tmp_path)


def test_missing_folders_and_files_are_named(raw, tmp_path):
    with pytest.raises(DataFileError, match='Area_4 is no folder'):
        prepare_area(raw, 4, tmp_path)
    (raw / 'Area_4').mkdir()
    with pytest.raises(DataFileError, match='Area_4 has no rooms'):
        prepare_area(raw, 4, tmp_path)
    (raw / 'Area_4' / 'office_1' / 'Annotations').mkdir(parents=True)
    with pytest.raises(DataFileError, match='no object files'):
        prepare_area(raw, 4, tmp_path)
    with pytest.raises(DataFileError, match='Area_1.npz is missing.*tools/data/s3dis'):
        load_area(tmp_path, 1)


@pytest.mark.parametrize('content', [b'', b'no archive', b'PK\x03\x04 cut off'])
def test_a_damaged_prepared_file_is_named(content, tmp_path):
    (tmp_path / 'Area_1.npz').write_bytes(content)
    with pytest.raises(DataFileError, match='Area_1.npz is no prepared area'):
        load_area(tmp_path, 1)


def test_the_data_set_gives_spheres_of_its_areas(raw, tmp_path):
    prepare_area(raw, 5, tmp_path)
    data = S3DISDataset(
        str(tmp_path), [5], radius=9, num_points=6, spheres_per_epoch=2, test_mode=True
    )
    assert data.metainfo['classes'] == CLASSES
    assert data.metainfo['clouds'][0].whole.labels.tolist() == [12, 7, 7, 2]
    sample = data[1]
    assert set(sample['labels'].tolist()) == {12, 7, 2}
    assert int(sample['valid'].sum()) == 4


@pytest.mark.parametrize('areas', [[], [0], [1, 1], [7]])
def test_areas_that_are_not_there_are_refused(areas, tmp_path):
    with pytest.raises(ValueError, match='give different ones of'):
        S3DISDataset(str(tmp_path), areas)
