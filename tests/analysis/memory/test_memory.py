"""Memory of a training step: meta tensors against bytes really allocated."""

import json
import warnings
from itertools import accumulate

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from dr2net_mm.analysis.memory.command import (
    MODES,
    backbone_memory,
    main,
    memory_table,
    mode_backbone,
)
from dr2net_mm.analysis.memory.step_memory import measure_step
from dr2net_mm.analysis.subjects.backbones import build_backbone, named_backbone
from dr2net_mm.errors import UserError

SMALL = dict(
    type='SwinTransformer',
    embed_dims=32,
    depths=(2, 2, 4, 2),
    num_heads=(2, 4, 8, 16),
    window_size=7,
)
# Not counted: states of random generators (5 kB a checkpointed block, on the host)
# and what kernels allocate inside.
TOLERANCE = 0.03


def step(model, image, amp=None):
    device = image.device.type
    with torch.autocast(device, dtype=amp or torch.bfloat16, enabled=amp is not None):
        outputs = model(image)
    with record_function('kept'):
        losses = [output.sum() for output in outputs]
    del outputs
    torch.autograd.backward(losses)


def allocations_of_a_step(model, image):
    """Signed sizes of the CPU's allocations, in order: of the forward, of the rest."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(model, image)
    events = sorted(
        profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns()
    )
    names = [event.name() for event in events]
    done = names.index('kept')
    forward, rest = (
        [event.nbytes() for event in part if event.name() == '[memory]']
        for part in (events[:done], events[done:])
    )
    return forward, rest


@pytest.mark.parametrize('mode', MODES)
def test_the_count_on_meta_tensors_is_what_the_cpu_allocates(mode):
    size = (187, 228)  # windows and patches need padding
    model = build_backbone(mode_backbone(SMALL, mode))
    # First on the CPU: what is cached per image size is allocated in this step.
    forward, rest = allocations_of_a_step(model, torch.randn(2, 3, *size))
    peak = max(accumulate(forward + rest))

    counted = backbone_memory(SMALL, size, modes=[mode])[0]
    total = counted['total_bytes'] - counted['parameter_bytes']
    assert counted['kept_bytes'] == pytest.approx(sum(forward), rel=TOLERANCE)
    assert total == pytest.approx(peak, rel=TOLERANCE)
    gradients = sum(p.grad.nbytes for p in model.parameters())
    assert counted['gradient_bytes'] == gradients


@pytest.mark.parametrize('mode', MODES)
def test_the_peak_lies_between_what_is_kept_and_the_total(mode):
    counted = backbone_memory(SMALL, 112, modes=[mode])[0]
    above = counted['total_bytes'] - counted['parameter_bytes']
    assert counted['kept_bytes'] <= counted['peak_bytes'] <= above
    assert above <= counted['peak_bytes'] + counted['gradient_bytes']


def test_reversible_keeps_less_than_checkpointing_and_that_less_than_conventional():
    rows = {row['mode']: row for row in backbone_memory(SMALL, 448)}
    for key in ('kept_bytes', 'peak_bytes'):
        conventional, checkpoint, dr2 = (rows[mode][key] for mode in MODES)
        assert dr2 < checkpoint < conventional


def test_parameter_gradients_are_not_part_of_the_peak():
    model = torch.nn.Linear(1000, 1000, bias=False, device='meta')
    counted = measure_step(model, torch.empty(1, 1000, device='meta'))
    assert counted.gradient_bytes == 4_000_000
    assert counted.peak_bytes < 20_000
    assert counted.total_bytes >= 8_000_000


def test_mixed_precision_keeps_less_than_fp32():
    fp32 = backbone_memory(SMALL, 448, modes=['conventional'])[0]
    bf16 = backbone_memory(SMALL, 448, amp='bf16', modes=['conventional'])[0]
    assert 0.5 < bf16['kept_bytes'] / fp32['kept_bytes'] < 0.9


def test_frozen_stages_are_counted_as_not_kept():
    whole = backbone_memory(SMALL, 224, modes=['conventional'])[0]
    frozen = dict(SMALL, frozen_stages=2)
    part = backbone_memory(frozen, 224, modes=['conventional'])[0]
    assert part['kept_bytes'] < 0.5 * whole['kept_bytes']
    assert part['gradient_bytes'] < whole['gradient_bytes']


def test_a_model_that_is_not_on_the_meta_device_is_refused():
    with pytest.raises(ValueError, match="weight is on cpu.*to\\('meta'\\)"):
        measure_step(torch.nn.Linear(2, 2), torch.empty(1, 2, device='meta'))


def test_a_model_without_a_differentiable_output_is_refused():
    model = torch.nn.Linear(2, 2, device='meta').requires_grad_(False)
    with pytest.raises(UserError, match='requires a gradient'):
        measure_step(model, torch.empty(1, 2, device='meta'))


def test_the_table_has_one_line_a_mode():
    sizes = dict(kept_bytes=1_500_000, peak_bytes=2_000_000, total_bytes=3_000_000)
    sizes['multiply_adds'] = 10**9
    lines = memory_table([dict(mode=mode, **sizes) for mode in MODES]).splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(MODES)
    assert lines[2].split()[1:] == ['1.500', '2.000', '3.000', '1.000', '1.000']
    assert '[MB]' in lines[0]


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code


def test_the_command_writes_three_modes_as_json(tmp_path, capsys):
    file = tmp_path / 'memory.json'
    small = ('--img-size', '64', '--batch', '1')
    assert run('--backbone', 'swin-t', *small, '--json', str(file)) == 0
    assert 'conventional' in capsys.readouterr().out
    rows = json.loads(file.read_text())
    assert [row['mode'] for row in rows] == list(MODES)
    for row in rows:
        assert all(
            isinstance(row[key], int)
            for key in ('kept_bytes', 'peak_bytes', 'total_bytes')
        )


def test_the_command_takes_the_backbone_of_a_config(tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text(f"model = dict(backbone={SMALL!r} | dict(init_cfg=dict(a='b')))")
    assert run(str(config), '--img-size', '64', '96', '--batch', '1') == 0
    assert '64x96' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'either CONFIG or --backbone'),
        (['--backbone', 'swin-x'], "'swin-x' is unknown"),
        (['missing.py'], "'missing.py' does not exist"),
        (['--backbone', 'swin-t', '--alpha', '1.5'], '1.5 is not a number in'),
        (['--backbone', 'swin-t', '--img-size', '0'], '0 is not a whole number'),
        (['--backbone', 'swin-t', '--img-size', '8', '8', '8'], 'one number, or'),
        (['--backbone', 'swin-t', '--json', 'no/such/f.json'], 'there is no folder'),
    ],
)
def test_bad_input_is_answered_by_one_line(arguments, message, capsys):
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ("type='ResNet'", "type 'ResNet' cannot be analyzed; accepted: "),
        ('depth=50', "unexpected keyword argument 'depth'"),
        ('dual_residual=dict(gamma=1)', "no option 'gamma'"),
        ('frozen_stages=4', 'no output of the model requires a gradient'),
    ],
)
def test_a_config_that_does_not_fit_is_answered_by_one_line(
    changes, message, tmp_path, capsys
):
    config = tmp_path / 'config.py'
    config.write_text(f'model = dict(backbone={SMALL!r} | dict({changes}))')
    assert run(str(config), '--img-size', '64') == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1


@pytest.mark.cuda
@pytest.mark.parametrize('amp', [None, 'bf16'])
@pytest.mark.parametrize('mode', MODES)
def test_the_count_is_what_a_gpu_allocates(mode, amp):
    backbone = named_backbone('swin-t')
    counted = backbone_memory(backbone, 512, amp=amp, modes=[mode])[0]
    model = build_backbone(mode_backbone(backbone, mode)).cuda()
    image = torch.randn(2, 3, 512, 512, device='cuda')
    dtype = torch.bfloat16 if amp else None
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*use_reentrant')
        step(model, image, dtype)  # libraries allocate their workspaces here
        model.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(model, image, dtype)
    above = torch.cuda.max_memory_allocated() - before
    expected = counted['total_bytes'] - counted['parameter_bytes']
    # The allocator rounds up to 512 bytes, and kernels take workspaces.
    assert expected == pytest.approx(above, rel=0.1)
