"""The fused kernels give the bits of the torch implementation.

They run on a GPU where there is one. Where there is none, a second process runs these
tests in Triton's interpreter on the CPU, if Triton is installed.
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import warnings
from importlib.metadata import version
from unittest import mock

import pytest
import torch

from dr2net_mm.reversible import Piece, fixed_point
from dr2net_mm.reversible.arithmetic import ExactArithmetic, FloatArithmetic
from dr2net_mm.reversible.fixed_point import Ratio
from dr2net_mm.reversible.kernels import dispatch, fused
from dr2net_mm.reversible.kernels.agreement import kernels_agree
from dr2net_mm.reversible.packing import packed_dtype, packed_size

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
HAS_TRITON = importlib.util.find_spec('triton') is not None
HAS_INTERPRETER = HAS_TRITON and int(version('triton').split('.')[0]) >= 3
DEVICES = ['cpu'] if INTERPRETED else [pytest.param('cuda', marks=pytest.mark.cuda)]

# With the kernels off there is nothing to compare with torch.
pytestmark = pytest.mark.skipif(
    os.environ.get('DR2NET_FUSED') == '0', reason='DR2NET_FUSED=0: no kernels'
)

BRANCH_TYPES = [torch.float32, torch.bfloat16, torch.float16]
EDGE = 2**31 - 1
TOKENS, CHANNELS = 46, 24
INDICES = {
    'whole': None,
    'slice': slice(3, 40),
    'strided': slice(1, None, 3),
    'rows': torch.randperm(TOKENS, generator=torch.Generator().manual_seed(0))[:29],
}

on_each_device = pytest.mark.parametrize('device', DEVICES)


@contextlib.contextmanager
def torch_only():
    """Context without fused kernels."""
    with mock.patch.object(dispatch, '_works_on', lambda device: False):
        yield


def exact(alpha=0.7, beta=0.1, branch_dtype=torch.float32, bits=(16, 16, 16)):
    return ExactArithmetic(alpha, beta, torch.float32, branch_dtype, bits)


def integers(*shape, bound=2**29) -> torch.Tensor:
    return torch.randint(-bound, bound, shape).to(torch.int32)


def spread(*shape) -> torch.Tensor:
    """Floats of very different magnitudes, some of them halfway between integers
    once scaled by 2**16."""
    values = torch.randn(shape) * 10.0 ** torch.empty(shape).uniform_(-7, 3)
    halves = (torch.randint(-9, 9, shape) + 0.5) / 2**16
    return torch.where(torch.rand(shape) < 0.2, halves, values)


def piece_of(name: str, device: str) -> Piece:
    index = INDICES[name]
    return Piece(index.to(device) if isinstance(index, torch.Tensor) else index)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    both_nan = torch.isnan(first) & torch.isnan(second)
    return first.dtype == second.dtype and bool(((first == second) | both_nan).all())


@pytest.mark.skipif(INTERPRETED, reason='this is the process that the test starts')
@pytest.mark.skipif(not HAS_INTERPRETER, reason='no Triton 3, whose interpreter runs')
def test_kernels_pass_these_tests_in_the_interpreter():
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__]
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@on_each_device
def test_the_trial_before_their_use_passes_and_notices_a_wrong_kernel(device):
    assert kernels_agree(torch.device(device))
    step = fused.inverse_step_

    def off_by_one(y, *args):
        step(y, *args)
        y[-1] += 1

    with mock.patch.object(fused, 'inverse_step_', off_by_one):
        assert not kernels_agree(torch.device(device))


@pytest.mark.parametrize('branch_dtype', BRANCH_TYPES)
@pytest.mark.parametrize('index', INDICES)
@on_each_device
def test_view_of_a_piece_has_the_same_bits(device, index, branch_dtype):
    x = integers(2, TOKENS // 2, CHANNELS, bound=EDGE).to(device)
    arithmetic, piece = exact(branch_dtype=branch_dtype), piece_of(index, device)
    view = arithmetic.view(x, piece)
    with torch_only():
        expected = arithmetic.view(x, piece)
    assert view.shape == expected.shape
    assert same(view, expected)


@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
@pytest.mark.parametrize('branch_dtype', BRANCH_TYPES)
@pytest.mark.parametrize('index', INDICES)
@on_each_device
def test_exact_step_and_its_inverse_have_the_same_bits(
    device, index, branch_dtype, alpha
):
    y = integers(2, TOKENS // 2, CHANNELS).to(device)
    arithmetic, piece = exact(alpha, branch_dtype=branch_dtype), piece_of(index, device)
    f, x = (spread(*piece.read(y).shape).to(device, branch_dtype) for _ in range(2))
    after, expected = y.clone(), y.clone()
    largest = arithmetic.add_(after, piece, f, x)
    with torch_only():
        expected_largest = arithmetic.add_(expected, piece, f, x)
    assert torch.equal(after, expected)
    assert torch.equal(largest, expected_largest)
    arithmetic.subtract_(after, piece, f, x)
    assert torch.equal(after, y)


@pytest.mark.parametrize('value', [3e4, 4e4, 1e9, 1e38, float('inf'), float('nan')])
@on_each_device
def test_values_out_of_range_are_noticed_as_by_torch(device, value):
    y, f = (torch.zeros(3, 5, dtype=t, device=device) for t in (torch.int32, None))
    y[2, 4], f[2, 4] = 2**27, -value
    y[0, 1], f[0, 1] = -(2**27), value / 2
    arithmetic, x = exact(), torch.zeros_like(f)
    largest = arithmetic.add_(y.clone(), Piece(), f, x)
    _, _, entering = arithmetic.enter(f)
    with torch_only():
        assert same(largest, arithmetic.add_(y.clone(), Piece(), f, x))
        assert same(entering, arithmetic.enter(f)[2])
    assert not bool(largest < 1) == (not value < 3.3e4)


@pytest.mark.parametrize('beta', [0.0, 0.1, 1.0])
@pytest.mark.parametrize('dtype', BRANCH_TYPES)
@on_each_device
def test_entry_has_the_same_bits(device, dtype, beta):
    x0 = spread(3, 700).to(device, dtype)
    arithmetic = exact(beta=beta)
    streams = arithmetic.enter(x0)
    with torch_only():
        expected = arithmetic.enter(x0)
    assert torch.equal(streams[0], expected[0])
    assert torch.equal(streams[1], expected[1])
    assert float(streams[2]) == float(expected[2])


RATIOS = [
    (1, 16), (2, 16), (3, 16), (255, 16), (257, 16), (6554, 16), (21845, 16),
    (32767, 16), (32768, 16), (45875, 16), (65535, 16), (65536, 16), (65536, 17),
    (65535, 18), (5, 18), (65536, 30),
]  # fmt: skip


def steps(count: int) -> torch.Tensor:
    """Integers with those at which a quotient changes, and the largest ones."""
    edges = [0, 1, -1, 65535, 65536, -65536, 2**30, EDGE, EDGE - 1, -EDGE, 1 - EDGE]
    values = torch.randint(-EDGE, EDGE, (count,))
    values[::2] = torch.randint(-70000, 70000, values[::2].shape)
    values[: len(edges)] = torch.tensor(edges)[:count]
    return values.to(torch.int32)


@pytest.mark.parametrize('count, size', [(3000, 1024), (2049, 2048), (13, 16)])
@pytest.mark.parametrize('numerator, bits', RATIOS)
@on_each_device
def test_beta_step_packs_the_same_bits_and_is_undone(
    device, numerator, bits, count, size
):
    ratio, x = Ratio(numerator, bits), steps(count).to(device)
    after, expected = x.clone(), x.clone()
    packed = fixed_point.step_(after, ratio, size, keep=True)
    with torch_only():
        expected_packed = fixed_point.step_(expected, ratio, size, keep=True)
    assert after.tolist() == [(value * numerator) >> bits for value in x.tolist()]
    assert torch.equal(after, expected)
    assert packed is expected_packed is None or torch.equal(packed, expected_packed)
    fixed_point.inverse_step_(after, packed, ratio, size)
    assert torch.equal(after, x)


@pytest.mark.parametrize('numerator, bits', RATIOS)
@on_each_device
def test_beta_step_without_remainders_has_the_same_bits(device, numerator, bits):
    x = steps(300).to(device)
    after = x.clone()
    assert fixed_point.step_(after, Ratio(numerator, bits), 64, keep=False) is None
    assert after.tolist() == [(value * numerator) >> bits for value in x.tolist()]


@pytest.mark.parametrize('numerator, bits', RATIOS)
@on_each_device
def test_inverse_of_numbers_that_no_step_gives_has_the_same_bits(
    device, numerator, bits
):
    ratio, size = Ratio(numerator, bits), 1024
    y = torch.cat([steps(2000), torch.tensor([-(2**31)], dtype=torch.int32)]).to(device)
    width = ratio.remainder_width
    packed = torch.zeros(
        packed_size(len(y), width), dtype=packed_dtype(width), device=device
    )
    x, expected = y.clone(), y.clone()
    fixed_point.inverse_step_(x, packed, ratio, size)
    with torch_only():
        fixed_point.inverse_step_(expected, packed, ratio, size)
    assert torch.equal(x, expected)


@pytest.mark.parametrize('alpha, beta', [(1.0, 0.1), (0.3, 0.7), (0.0, 1.0)])
@on_each_device
def test_gradients_of_streams_have_the_same_bits(device, alpha, beta):
    arithmetic = FloatArithmetic(alpha, beta, torch.float32, torch.float32)
    gx, gy = (spread(7, 333).to(device) for _ in range(2))
    combined = arithmetic.stream_gradient_(gx, gy.clone())
    with torch_only():
        expected = arithmetic.stream_gradient_(gx, gy.clone())
    assert torch.equal(combined, expected)


@pytest.mark.parametrize('dtype', BRANCH_TYPES)
@pytest.mark.parametrize('index', INDICES)
@on_each_device
def test_gradients_of_pieces_are_added_with_the_same_bits(device, index, dtype):
    gradient, piece = (
        spread(2, TOKENS // 2, CHANNELS).to(device),
        piece_of(index, device),
    )
    more = spread(*piece.read(gradient).shape).to(device, dtype)
    total, expected = gradient.clone(), gradient.clone()
    piece.add_(total, more)
    with torch_only():
        piece.add_(expected, more)
    assert torch.equal(total, expected)


@pytest.mark.parametrize('alpha, beta', [(1, 0.1), (0.3, 0.7), (1, 0)])
@on_each_device
def test_stage_has_the_same_outputs_and_gradients(
    make_mlps, run_stage, device, alpha, beta
):
    branches = make_mlps(3).to(device)
    x = torch.randn(2, 7, 8, device=device)
    results = [run_stage(branches, x, alpha, beta)]
    results.append(run_stage(branches, x, alpha, beta, backprop='stored'))
    with torch_only():
        results.append(run_stage(branches, x, alpha, beta))
    for other in results[1:]:
        assert torch.equal(results[0].output, other.output)
        assert all(map(torch.equal, results[0].gradients, other.gradients))


@on_each_device
def test_float64_streams_and_transposed_ones_are_left_to_torch(device):
    stream = torch.zeros(4, 6, dtype=torch.int32, device=device)
    assert dispatch.available(stream, torch.zeros(4, 6, device=device))
    assert not dispatch.available(stream, stream.double())
    assert not dispatch.available(stream.double())
    assert not dispatch.available(stream.t())


def test_an_environment_variable_turns_the_kernels_off(monkeypatch):
    monkeypatch.setenv('DR2NET_FUSED', '0')
    monkeypatch.setattr(fused, 'combine_', mock.Mock(side_effect=AssertionError))
    assert not dispatch._works_on.__wrapped__(torch.device('cuda'))


def test_a_compiler_that_fails_leaves_the_work_to_torch_and_says_so(monkeypatch):
    monkeypatch.delenv('DR2NET_FUSED', raising=False)
    monkeypatch.setattr(dispatch, 'find_spec', lambda name: True)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: (9, 0))
    monkeypatch.setattr(fused, '_launch', mock.Mock(side_effect=RuntimeError('no gcc')))
    # The trial makes its tensors on the device; there may be none here.
    monkeypatch.setattr(torch.Tensor, 'to', lambda tensor, *args: tensor)
    monkeypatch.setattr(torch, 'empty', lambda *args, **options: torch.zeros(args[0]))
    with pytest.warns(UserWarning, match='no gcc.*DR2NET_FUSED=0'):
        assert not dispatch._works_on.__wrapped__(torch.device('cuda'))


def test_the_cpu_has_no_kernels_but_in_the_interpreter():
    assert dispatch.available(torch.zeros(3)) == (INTERPRETED and HAS_TRITON)


@pytest.mark.cuda
def test_forward_and_backward_do_not_wait_for_the_device(make_mlps, run_stage):
    branches = make_mlps(3, dropout=0.1).cuda()
    x = torch.randn(2, 7, 8, device='cuda')

    def train():
        run_stage(branches, x, 1.0, 0.1, autocast=False)

    train()
    torch.cuda.set_sync_debug_mode('error')
    try:
        train()
    finally:
        torch.cuda.set_sync_debug_mode('default')


FLOAT_KERNELS = {
    'increment_kernel': (
        {
            'tokens': '*i32',
            'index': '*i64',
            'f': '*fp32',
            'x': '*fp32',
            'largest': '*i32',
            'count': 'i32',
            'alpha': 'fp32',
            'scale': 'fp32',
            'zero': 'i32',
        },
        {'SUBTRACT': False, 'INDEXED': False, 'CHANNELS': 1},
    ),
    'combine_kernel': (
        {
            'gy': '*fp32',
            'gx': '*fp32',
            'count': 'i32',
            'alpha': 'fp32',
            'beta': 'fp32',
            'zero': 'i32',
        },
        {},
    ),
}


@pytest.mark.skipif(INTERPRETED, reason='the interpreter does not compile')
@pytest.mark.skipif(not HAS_INTERPRETER, reason='no Triton 3, which compiles offline')
@pytest.mark.parametrize('name', FLOAT_KERNELS)
def test_compiled_kernels_round_products_before_they_add(name):
    import triton
    from triton.compiler import ASTSource

    backends = pytest.importorskip('triton.backends.compiler')
    if tuple(map(int, triton.__version__.split('.')[:2])) < (3, 3):
        pytest.skip('compiling without a device is different in earlier versions')
    from dr2net_mm.reversible.kernels import triton_kernels as kernels

    types, constants = FLOAT_KERNELS[name]
    constants = {**constants, 'BLOCK': fused.BLOCK}
    types = {**types, **dict.fromkeys(constants, 'constexpr')}
    source = ASTSource(getattr(kernels, name), types, constexprs=constants)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        compiled = triton.compile(source, target=backends.GPUTarget('cuda', 80, 32))
    assert 'mul' in compiled.asm['ptx']
    assert 'fma' not in compiled.asm['ptx'] and '.ftz' not in compiled.asm['ptx']
