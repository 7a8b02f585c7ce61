"""What a process holds, as the system counts it."""

import gc
import subprocess
import threading

from dr2net_mm.analysis.soak.process_gauges import (
    child_count,
    open_files,
    reachable_objects,
    resident_bytes,
    thread_count,
    wait_for_loaders,
)


def test_the_system_counts_what_a_process_opens_and_starts(tmp_path):
    # What other tests may have left.
    gc.collect()
    wait_for_loaders()
    before = open_files(), thread_count(), child_count()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    with open(str(tmp_path / 'file'), 'w'):
        child = subprocess.Popen(['sleep', '60'])
        after = open_files(), thread_count(), child_count()
    child.kill()
    # Until somebody waits for it, it is there.
    assert child_count() == before[2] + 1
    child.wait()
    done.set()
    thread.join()
    assert tuple(b - a for a, b in zip(before, after)) == (1, 1, 1)
    assert (open_files(), thread_count(), child_count()) == before
    assert resident_bytes() > 1e7


def test_objects_that_were_put_aside_do_not_count():
    gc.collect()
    gc.freeze()
    try:
        before = reachable_objects()
        held = [[] for _ in range(1000)]
        assert 1000 <= reachable_objects() - before < 1100
        del held
        assert abs(reachable_objects() - before) < 100
    finally:
        gc.unfreeze()
