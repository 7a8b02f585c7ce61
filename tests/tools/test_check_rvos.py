"""The checker of folders of referring video object segmentation."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.scripts import load_script

pytest.importorskip('h5py')


@pytest.fixture(scope='module')
def tool():
    return load_script('data/check_rvos.py')


@pytest.fixture
def a2d(tmp_path):
    """Two clips of moving digits, in A2D's formats."""
    from dr2net_mm.first_runs.data.moving_digits import DigitOptions
    from dr2net_mm.first_runs.data.moving_digits_set import SUBSETS, write_digit_set

    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (20, 28, 28), np.uint8)
    film = np.full((14, 48, 80, 3), 60, np.uint8)
    options = DigitOptions(clips=(2, 1))
    films = {subset: [film] for subset in SUBSETS}
    write_digit_set(films, pictures, np.arange(20) % 10, tmp_path, options)
    return tmp_path


def run(tool, capsys, *arguments):
    status = tool.main([*map(str, arguments), '--workers', '0'])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_whole_folder_has_no_problem(tool, a2d, capsys):
    status, said, _ = run(tool, capsys, 'a2d', a2d)
    assert status == 0 and '0 of 3 videos have a problem' in said


def test_everything_that_is_wrong_is_listed(tool, a2d, capsys):
    texts = a2d / 'text_annotations'
    masks = texts / 'a2d_annotation_with_instances'
    (a2d / 'Release/clips320H/training_0000.mp4').unlink()
    (masks / 'training_0001/00005.h5').write_bytes(b'none')
    (masks / 'validation_0000/00005.h5').rename(masks / 'validation_0000/00099.h5')
    with open(texts / 'a2d_annotation.txt', 'a') as file:
        file.write('validation_0000,9,the ninth\nunlisted,1,a digit\n')
    status, said, _ = run(tool, capsys, 'a2d', a2d)
    assert status == 1
    assert 'training_0000.mp4 is missing' in said
    assert '00005.h5 is no annotation of A2D' in said
    assert '00099.h5 is of frame 99; the video has 12' in said
    assert "'the ninth' means the instance 9, which no annotation has" in said
    assert 'unlisted: is not in Release/videoset.csv' in said
    assert '4 of 4 videos have a problem' in said


def test_a_sentence_too_long_for_the_text_encoder_is_found(tool, a2d, tmp_path, capsys):
    with open(a2d / 'text_annotations/a2d_annotation.txt', 'a') as file:
        file.write(f'validation_0000,1,{"very " * 30}small digit\n')
    config = tmp_path / 'config.py'
    encoder = "type='RobertaTextEncoder', config=dict(max_position_embeddings=66)"
    config.write_text(f'model = dict(text_encoder=dict({encoder}))')
    for options in (['--config', config], ['--max-tokens', 64]):
        status, said, _ = run(tool, capsys, 'a2d', a2d, *options)
        assert status == 1 and '1 of 3 videos have a problem' in said
        (line,) = [line for line in said.splitlines() if 'tokens' in line]
        assert line.startswith('validation_0000: the sentence')
        assert 'has 163 tokens; the text encoder takes 64' in line
    status, said, _ = run(tool, capsys, 'a2d', a2d)
    assert status == 0
    config.write_text('model = dict()')
    status, _, error = run(tool, capsys, 'a2d', a2d, '--config', config)
    assert status == 2 and 'has no model.text_encoder' in error
    options = ('--config', config, '--max-tokens', 64)
    status, _, error = run(tool, capsys, 'a2d', a2d, *options)
    assert status == 2 and 'not both' in error


def test_bad_input_is_one_line(tool, tmp_path, capsys):
    status, _, error = run(tool, capsys, 'a2d', tmp_path / 'none')
    assert status == 2 and 'is no folder' in error
    status, _, error = run(tool, capsys, 'a2d', tmp_path)
    assert status == 2 and 'videoset.csv does not exist' in error


def test_ref_youtube_vos_names_objects_that_no_frame_shows(tool, tmp_path, capsys):
    videos = {
        'v': dict(
            frames=['00000', '00005'],
            expressions={'0': dict(exp='a dog', obj_id='7'), '1': dict(exp=' ')},
        )
    }
    for subset, found in (('train', videos), ('valid', {}), ('test', {})):
        folder = tmp_path / 'meta_expressions' / subset
        folder.mkdir(parents=True)
        (folder / 'meta_expressions.json').write_text(json.dumps(dict(videos=found)))
    for kind, ending in (('JPEGImages', 'jpg'), ('Annotations', 'png')):
        folder = tmp_path / 'train' / kind / 'v'
        folder.mkdir(parents=True)
        Image.new('RGB' if ending == 'jpg' else 'P', (8, 6)).save(
            folder / f'00000.{ending}'
        )
    status, said, _ = run(tool, capsys, 'ref-youtube-vos', tmp_path, '--max-tokens', 6)
    assert status == 1
    assert '00005.jpg cannot be read' in said
    assert 'expression 0 means the object 7, which no frame shows' in said
    assert 'expression 1 is empty' in said
    assert "'a dog'… has 7 tokens" in said
    assert '1 of 1 videos have a problem' in said


def test_jhmdb_names_what_is_missing(tool, tmp_path, capsys):
    (tmp_path / 'jhmdb_annotation.txt').write_text('video_id,query\nv,a man\nw,a man\n')
    frames = tmp_path / 'Rename_Images/run/v'
    frames.mkdir(parents=True)
    Image.new('RGB', (8, 6)).save(frames / '00001.png')
    status, said, _ = run(tool, capsys, 'jhmdb', tmp_path, '--max-tokens', 7)
    assert status == 1
    assert 'puppet_mask.mat is no puppet mask' in said
    assert "v: the sentence 'a man'… has 7" not in said
    assert 'w: ' in said and 'has no folder of it' in said
