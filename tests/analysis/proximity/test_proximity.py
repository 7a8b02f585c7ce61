import json

import pytest
import torch
from PIL import Image
from torch.nn import functional

from dr2net_mm.analysis.proximity.command import main
from dr2net_mm.analysis.proximity.images import chosen_files, image_batches
from dr2net_mm.analysis.proximity.measure import PAIRS, gain, proximity
from dr2net_mm.backbones import Dr2TimmBackbone
from dr2net_mm.errors import DataFileError, UserError

timm = pytest.importorskip('timm')

VIT = dict(img_size=32, depth=3, embed_dim=12, num_heads=2, output_norm=True)
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture()
def backbone():
    torch.manual_seed(0)
    return Dr2TimmBackbone('vit_tiny_patch16_224', **VIT).eval()


def test_features_at_the_pretrained_point_are_timm_s_own(backbone):
    weights = {
        name: value
        for name, value in backbone.state_dict().items()
        if not name.startswith('dual_residual')
    }
    size = {k: v for k, v in VIT.items() if k != 'output_norm'}
    model = timm.create_model('vit_tiny_patch16_224', num_classes=0, **size).eval()
    model.load_state_dict(weights)
    (row,) = proximity(backbone, [IMAGES], [(0.3, 0.7)])
    with torch.no_grad():
        expected = model.forward_features(IMAGES)[:, 1:].mean(dim=1)
        backbone.set_coefficients(0.3, 0.7)
        found = backbone(IMAGES)[-1].mean(dim=(2, 3))
    cosine = functional.cosine_similarity(found, expected).mean().item()
    assert row['cosine'] == pytest.approx(cosine, abs=1e-4)
    assert row['images'] == 4


def test_cosines_do_not_depend_on_the_batches_and_fall_along_a_line(backbone):
    whole = list(proximity(backbone, [IMAGES], [(1, 0), (0.9, 0.1), (0.3, 0.7)]))
    cut = list(proximity(backbone, IMAGES.split(3), [(1, 0), (0.9, 0.1), (0.3, 0.7)]))
    cosines = [row['cosine'] for row in whole]
    assert [row['cosine'] for row in cut] == pytest.approx(cosines)
    assert cosines[0] == pytest.approx(1.0)
    assert cosines[0] > cosines[1] > cosines[2]
    assert (backbone.alpha, backbone.beta) == (1.0, 0.0)


@pytest.mark.parametrize('alpha, beta', PAIRS)
def test_the_gain_is_the_growth_of_a_stream_without_branches(alpha, beta):
    before, now = 1.0, 1.0
    for _ in range(400):
        before, now = now, alpha * now + beta * before
    if alpha > 0:
        assert now / before == pytest.approx(gain(alpha, beta), rel=1e-6)
    assert (gain(alpha, beta) == pytest.approx(1)) == (alpha + beta == pytest.approx(1))


def test_images_are_normalized_as_for_imagenet_and_drawn_from_the_folder(tmp_path):
    for name in ('a.png', 'b.jpg', 'notes.txt'):
        if name.endswith('txt'):
            (tmp_path / name).write_text('no image')
        else:
            Image.new('RGB', (8, 6), (255, 0, 0)).save(tmp_path / name)
    files = chosen_files(tmp_path, 5)
    assert sorted(file.name for file in files) == ['a.png', 'b.jpg']
    (batch,) = image_batches([tmp_path / 'a.png'], (4, 4), 2)
    assert batch.shape == (1, 3, 4, 4)
    expected = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(batch[0, :, 0, 0], expected)


def test_a_folder_without_images_and_a_broken_image_are_named(tmp_path):
    with pytest.raises(UserError, match='there is no such folder'):
        chosen_files(tmp_path / 'none', 1)
    with pytest.raises(UserError, match='no images'):
        chosen_files(tmp_path, 1)
    (tmp_path / 'broken.png').write_bytes(b'no picture')
    with pytest.raises(DataFileError, match=r'broken\.png cannot be read'):
        list(image_batches([tmp_path / 'broken.png'], (4, 4), 1))


def test_the_command_prints_a_row_for_a_point_and_writes_it(tmp_path, capsys):
    out = tmp_path / 'found.json'
    arguments = ['--backbone', 'timm:test_vit', '--count', '2', '--alpha', '0.9']
    with pytest.raises(SystemExit) as ended:
        main([*arguments, '--beta', '0.1', '--json', str(out)])
    assert ended.value.code == 0
    assert '(0.9, 0.1)     1.000' in capsys.readouterr().out
    assert json.loads(out.read_text())['rows'][0]['beta'] == 0.1


def test_half_a_point_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--backbone', 'timm:test_vit', '--alpha', '0.9'])
    assert ended.value.code == 2
    assert 'give --alpha and --beta together' in capsys.readouterr().err
