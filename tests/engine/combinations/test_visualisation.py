"""What visualization back-ends are told of the coefficients."""

import json

import pytest

COEFFICIENTS = dict(type='Dr2CoefficientHook', end_iter=6, interval=1)


def scalars_of_json(run):
    (path,) = run.work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        line['step'] - 1: (line['dr2/alpha'], line['dr2/beta'])
        for line in lines
        if 'dr2/alpha' in line
    }


def scalars_of_tensorboard(run):
    module = pytest.importorskip(
        'tensorboard.backend.event_processing.event_file_loader'
    )
    found = {}
    for path in run.work_dir.glob('*/vis_data/events.out.*'):
        for event in module.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step - 1] = (
                    value.tensor.float_val[0]
                )
    alpha, beta = found['dr2/alpha'], found['dr2/beta']
    assert 'loss' in found and list(alpha) == list(beta)
    return {step: (alpha[step], beta[step]) for step in alpha}


@pytest.mark.parametrize('average', [[], [dict(type='EMAHook')]], ids=['', 'average'])
def test_every_backend_gets_the_coefficients_of_every_iteration(make_run, average):
    backends = [dict(type='LocalVisBackend')]
    tensorboard = _has_tensorboard()
    if tensorboard:
        backends.append(dict(type='TensorboardVisBackend'))
    run = make_run(
        COEFFICIENTS,
        *average,
        visualizer=dict(type='Visualizer', vis_backends=backends),
    )
    assert scalars_of_json(run) == run.watcher.trained
    if tensorboard:
        found = scalars_of_tensorboard(run)
        assert found == {
            step: pytest.approx(values) for step, values in run.watcher.trained.items()
        }


def test_a_run_without_backends_logs_them_all_the_same(make_run):
    run = make_run(COEFFICIENTS, visualizer=dict(type='Visualizer', vis_backends=[]))
    lines = [line for line in run.log().splitlines() if 'dr2/alpha' in line]
    assert len(lines) == len(run.watcher.trained) == 9
    assert 'dr2/alpha: 0.3000  dr2/beta: 0.7000' in lines[-1]


def test_a_log_interval_shows_the_values_of_the_iteration_it_names(make_run):
    # Losses are averaged over the interval; coefficients must not be.
    run = make_run(
        dict(COEFFICIENTS, end_iter=9),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=3)),
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
    )
    found = scalars_of_json(run)
    assert found == {step: run.watcher.trained[step] for step in (2, 5, 8)}


def _has_tensorboard():
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return False
    return True
