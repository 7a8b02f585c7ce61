"""What a training leaves, and says, when something goes wrong: docs/reliability.md."""

import shutil
import signal

import pytest

TERMINATED = 128 + signal.SIGTERM


def error_line(run) -> str:
    """The last line of output, after checking that it is one of ours, without stack."""
    output = run.output()
    assert 'Traceback' not in output, output
    (line,) = [line for line in output.splitlines() if 'train.py: error' in line]
    assert output.splitlines()[-1] == line
    return line


@pytest.mark.parametrize(
    ('fault', 'words'),
    [
        ('full', ['File too large', 'iter_4.pth', 'make room', '--resume']),
        ('nan', ['loss_cls=nan', 'iteration 4', 'learning rate']),
        ('overflow', ['Dr2SwinTransformer stage 1', "arithmetic='float'"]),
    ],
)
def test_a_fault_costs_the_iterations_since_the_last_checkpoint_and_no_more(
    server, reference, make_run, fault, words
):
    run = make_run('iterations')
    run.inject(fault, at=3)
    assert server.train(run) == 2, run.output()
    line = error_line(run)
    for word in words:
        assert word in line
    # Only the checkpoint from before, and nothing half written.
    kept = [path.name for path in run.work_dir.iterdir() if 'pth' in path.name]
    assert kept == ['iter_3.pth']
    run.inject()
    assert server.train(run, '--resume') == 0, run.output()
    assert not run.differences(reference('iterations'))


def test_a_damaged_checkpoint_is_refused_and_an_older_one_taken(
    server, reference, make_run
):
    run = make_run('iterations', "default_hooks['checkpoint']['max_keep_ckpts'] = 2")
    run.inject('terminate', at=3)
    assert server.train(run) == TERMINATED, run.output()
    run.inject()
    checkpoint = run.work_dir / 'interrupted.pth'
    content = bytearray(checkpoint.read_bytes())
    # One bit of a weight: torch would load it without a word.
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    assert server.train(run, '--resume') == 2
    assert 'interrupted.pth' in error_line(run) and 'checksum' in error_line(run)
    older = run.work_dir / 'iter_3.pth'
    assert server.train(run, f'--resume={older}') == 0, run.output()
    assert not run.differences(reference('iterations'))


def test_an_image_that_goes_bad_costs_the_iterations_since_the_last_checkpoint(
    server, reference, make_run
):
    run = make_run('iterations')
    run.inject('terminate', at=3)
    assert server.train(run) == TERMINATED, run.output()
    run.inject()
    image = run.folder / 'images' / '1.png'
    shutil.copy(str(image), str(run.folder / 'kept.png'))
    image.write_bytes(b'not an image')
    assert server.train(run, '--resume') == 2
    assert str(image) in error_line(run)
    shutil.copy(str(run.folder / 'kept.png'), str(image))
    assert server.train(run, '--resume') == 0, run.output()
    assert not run.differences(reference('iterations'))
