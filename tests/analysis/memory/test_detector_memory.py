"""Whole detectors on meta tensors: their count against a step with the real loss."""

import pytest
import torch

from dr2net_mm.analysis.memory.command import main
from dr2net_mm.analysis.memory.detector_memory import (
    Row,
    ValuesOnHost,
    detector_memory,
    detector_rows,
)
from dr2net_mm.analysis.memory.storage_meter import StorageMeter
from dr2net_mm.analysis.subjects.detectors import (
    HEADS,
    build_detector,
    config_detector,
    detector_loss,
    detector_variant,
    random_samples,
)
from dr2net_mm.backbones.branches.windows import window_pieces
from dr2net_mm.errors import UserError

CONFIG = 'configs/first_run/dino-2scale_dr2-swin-nano_1xb2-4e_tree-crowns.py'
SIZE, BATCH = (160, 192), 2


@pytest.fixture(scope='module')
def dino(request):
    detector = config_detector(str(request.config.rootpath / CONFIG))
    return dict(detector, num_queries=20)


def bytes_of_a_real_step(dino, row):
    model = build_detector(detector_variant(dino, row.mode), row.rest)
    model.init_weights()
    images = torch.randn(BATCH, 3, *SIZE)
    samples = random_samples(BATCH, SIZE, model.bbox_head.num_classes)
    resident = [*model.parameters(), *model.buffers(), images]
    with StorageMeter(resident, device='cpu') as meter:
        detector_loss(model, images, samples).backward()
    return meter.peak_bytes(gradients=True)


@pytest.mark.parametrize(
    'row',
    [
        Row('a', 'conventional', {}),
        Row('b', 'dr2', {}, 'encoder'),
        Row('c', 'dr2', {}, 'pieces'),
    ],
)
def test_the_count_is_what_a_step_with_the_real_loss_takes(dino, row):
    counted = detector_memory(dino, row, SIZE, BATCH, cuda_operator=False)
    above = counted['total_bytes'] - counted['parameter_bytes']
    assert above == pytest.approx(bytes_of_a_real_step(dino, row), rel=0.05)


def test_each_measure_takes_memory_off_and_cudas_operator_keeps_less(dino):
    rows = {
        row.name: detector_memory(dino, row, SIZE, BATCH)['peak_bytes']
        for row in detector_rows(dino, {})
    }
    assert rows['dr2'] <= rows['checkpoint'] < rows['conventional']
    assert rows['dr2 + pieces'] < rows['dr2 + encoder'] < rows['dr2']
    assert rows['dr2 + encoder'] <= rows['checkpoint + encoder']
    row = Row('dr2', 'dr2', {})
    of_torch = detector_memory(dino, row, SIZE, BATCH, cuda_operator=False)
    assert rows['dr2'] < of_torch['peak_bytes']


def test_rows_are_every_mode_budget_and_what_the_encoder_adds(dino):
    names = [row.name for row in detector_rows(dino, {}, [('0.3', 0.3)])]
    assert names == [
        'conventional',
        'checkpoint',
        'dr2',
        'dr2 (budget 0.3)',
        'checkpoint + encoder',
        'dr2 + encoder',
        'dr2 (budget 0.3) + encoder',
        'checkpoint + pieces',
        'dr2 + pieces',
        'dr2 (budget 0.3) + pieces',
    ]
    without = {key: value for key, value in dino.items() if key != 'encoder'}
    assert [row.rest for row in detector_rows(without, {})][3:] == ['pieces'] * 2


def test_a_detector_without_encoder_is_counted(request):
    path = request.config.rootpath / (
        'configs/retinanet/retinanet_dr2-swin-t-p4-w7_fpn_1x_coco.py'
    )
    detector = config_detector(str(path))
    row = Row('dr2', 'dr2', {})
    assert detector_memory(detector, row, (64, 64), 1)['peak_bytes'] > 0


def test_a_detector_of_two_stages_is_counted_with_given_regions(request):
    path = request.config.rootpath / (
        'configs/mask_rcnn/mask-rcnn_dr2-swin-t-p4-w7_fpn_1x_coco.py'
    )
    detector = config_detector(str(path), HEADS)
    rows = [
        detector_memory(detector, Row('dr2', 'dr2', {}, rest), (128, 128), 1)
        for rest in ('', 'pieces')
    ]
    # The gradients of every part are there, and the heads for regions weigh most.
    assert rows[0]['gradient_bytes'] > 0.99 * rows[0]['parameter_bytes']
    assert rows[1]['peak_bytes'] < 0.5 * rows[0]['peak_bytes']


def test_images_too_small_for_the_queries_are_explained(dino):
    with pytest.raises(UserError, match='images of 32x32.*use larger images'):
        detector_memory(dino, Row('a', 'conventional', {}), (32, 32), 1)


def test_sizes_keep_their_values_and_mixed_operators_lose_them():
    with ValuesOnHost():
        size = torch.tensor([2, 3]).to('meta')
        assert size.tolist() == [2, 3]
        mixed = torch.ones(2, device='meta') * torch.ones(2)
    assert mixed.device.type == 'meta'


def test_indices_of_windows_made_on_the_host_are_forgotten_afterwards():
    meta = torch.device('meta')
    grid = (1, (5, 5), (2, 2), (0, 0), None, meta)
    with ValuesOnHost():
        window_pieces(*grid)
    assert all(piece.index.device == meta for piece in window_pieces(*grid))


def run(*arguments):
    with pytest.raises(SystemExit) as exit_info:
        main(list(arguments))
    return exit_info.value.code


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--backbone', 'swin-t'], '--detector needs CONFIG'),
        (['configs/classification/dr2-vit-s14-dinov2_1xb8-2e_elpv.py'], 'one stage'),
    ],
)
def test_what_is_no_detector_is_refused_in_a_line(
    arguments, message, capsys, monkeypatch, request
):
    monkeypatch.chdir(request.config.rootpath)
    assert run(*arguments, '--detector') == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
