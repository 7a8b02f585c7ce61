"""A work dir has one run at a time."""

import json
import os
import subprocess
import sys

import pytest

from dr2net_mm.errors import UserError
from dr2net_mm.launch import work_dir_lock
from dr2net_mm.launch.work_dir_lock import LOCK_NAME, WorkDirLock


def lock(folder, **times):
    times = dict(dict(heartbeat=0.05, patience=0.5), **times)
    return WorkDirLock(str(folder), **times)


def record(folder, **changes):
    """Change what stands in the record."""
    path = folder / LOCK_NAME
    path.write_text(json.dumps(dict(json.loads(path.read_text()), **changes)))


def test_a_second_run_is_told_of_the_first(tmp_path):
    first = lock(tmp_path)
    first.acquire()
    with pytest.raises(UserError, match=rf'process {os.getpid()} on .*--work-dir'):
        lock(tmp_path).acquire()
    first.release()
    assert not list(tmp_path.iterdir())
    second = lock(tmp_path)
    second.acquire()
    # A run that is over takes nothing from its successor.
    first.release()
    with pytest.raises(UserError):
        lock(tmp_path).acquire()
    second.release()


def test_a_killed_run_is_followed_at_once(tmp_path):
    code = (
        'import os, signal, sys; from dr2net_mm.launch.work_dir_lock import *;'
        'WorkDirLock(sys.argv[1]).acquire(); os.kill(os.getpid(), signal.SIGKILL)'
    )
    found = subprocess.run([sys.executable, '-c', code, str(tmp_path)])
    assert found.returncode == -9 and (tmp_path / LOCK_NAME).exists()
    after = lock(tmp_path, patience=1000)
    after.acquire()
    assert json.loads((tmp_path / LOCK_NAME).read_text())['pid'] == os.getpid()
    after.release()


def test_a_process_number_that_is_used_again_is_no_run(tmp_path):
    lock(tmp_path).acquire()
    record(tmp_path, started='1')
    after = lock(tmp_path, patience=1000)
    after.acquire()
    after.release()


def test_a_run_on_another_host_is_believed_while_it_shows_life(tmp_path):
    living = lock(tmp_path)
    living.acquire()
    record(tmp_path, host='elsewhere')
    with pytest.raises(UserError, match='on elsewhere'):
        lock(tmp_path).acquire()
    living._released.set()
    after = lock(tmp_path, patience=0.3)
    after.acquire()
    after.release()


def test_a_slurm_job_that_is_queued_again_is_not_kept_waiting(tmp_path, monkeypatch):
    monkeypatch.setenv('SLURM_JOB_ID', '7')
    lock(tmp_path).acquire()
    record(tmp_path, host='elsewhere')
    after = lock(tmp_path, patience=1000)
    after.acquire()
    after.release()


def test_a_record_cut_short_is_nobodys(tmp_path):
    (tmp_path / LOCK_NAME).write_text('{"pid"')
    found = lock(tmp_path)
    found.acquire()
    found.release()


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError('no links')

    monkeypatch.setattr(work_dir_lock.os, 'link', refuse)
    first = lock(tmp_path)
    first.acquire()
    with pytest.raises(UserError):
        lock(tmp_path).acquire()
    first.release()
