"""Files are wholly written or not there."""

import os

import pytest
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner import save_checkpoint

import dr2net_mm  # noqa: F401
from dr2net_mm.atomic_file import atomic_open, remove_partial_files
from dr2net_mm.checkpoints.atomic_write import AtomicLocalBackend


def test_mmengine_writes_local_files_through_the_atomic_backend(tmp_path):
    backend = get_file_backend(str(tmp_path))
    assert isinstance(backend, AtomicLocalBackend) and isinstance(backend, LocalBackend)


def test_a_checkpoint_that_fails_to_be_written_leaves_the_previous_one(
    tmp_path, monkeypatch
):
    path = tmp_path / 'epoch_1.pth'
    save_checkpoint(dict(state_dict=dict(a=torch.zeros(3))), str(path))
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match='No space left'):
        save_checkpoint(dict(state_dict=dict(a=torch.ones(9))), str(path))
    assert path.read_bytes() == before
    assert os.listdir(str(tmp_path)) == ['epoch_1.pth']


def test_nothing_is_seen_under_the_final_name_before_it_is_complete(tmp_path):
    path = tmp_path / 'file'
    with atomic_open(path) as file:
        file.write(b'half')
        assert not path.exists()
    assert path.read_bytes() == b'half'


def test_an_interrupt_while_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with atomic_open(tmp_path / 'file'):
            raise KeyboardInterrupt
    assert os.listdir(str(tmp_path)) == []


def test_a_link_stays_a_link_to_the_same_file(tmp_path):
    target, link = tmp_path / 'target', tmp_path / 'link'
    target.write_text('old')
    link.symlink_to(target)
    get_file_backend(str(link)).put_text('new', str(link))
    assert link.is_symlink() and target.read_text() == 'new'


def test_folders_are_made_and_permissions_follow_the_umask(tmp_path):
    path = tmp_path / 'a' / 'b' / 'file'
    AtomicLocalBackend().put(b'x', str(path))
    plain = tmp_path / 'plain'
    plain.write_bytes(b'x')
    assert path.stat().st_mode == plain.stat().st_mode


def test_leftovers_are_removed_and_other_files_stay(tmp_path):
    (tmp_path / '.epoch_1.pth.0a1b2c3d.partial').write_bytes(b'x')
    (tmp_path / 'notes.partial').write_bytes(b'x')
    assert remove_partial_files(tmp_path) == 1
    assert os.listdir(str(tmp_path)) == ['notes.partial']
