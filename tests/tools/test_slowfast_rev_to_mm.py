"""The converter of Rev-ViT and Rev-MViT, from file to file."""

from pathlib import Path

import pytest
import torch

from tests.fixtures.scripts import load_script

SCRIPT = Path(__file__).parents[2] / 'tools/model_converters/slowfast_rev_to_mm.py'


@pytest.fixture
def tool():
    return load_script(SCRIPT)


def test_a_file_goes_to_slowfast_and_back(tmp_path, tool, rev, capsys):
    state = rev.vit().state_dict()
    ours, theirs, again = (tmp_path / f'{name}.pth' for name in 'abc')
    torch.save({'state_dict': state}, str(ours))
    assert tool.main(['--to-original', str(ours), str(theirs)]) == 0
    assert 'pos_embed' in torch.load(str(theirs))['model_state']
    assert tool.main([str(theirs), str(again), '--backbone-only']) == 0
    found = torch.load(str(again))['state_dict']
    assert "type='RevVisionTransformer'" in capsys.readouterr().out
    assert {f'dual_residual.{name}' for name in ('alpha', 'beta')} == (
        state.keys() - found.keys()
    )
    assert all(torch.equal(value, state[name]) for name, value in found.items())


def test_another_network_is_one_line(tmp_path, tool, error_line):
    source = tmp_path / 'other.pth'
    torch.save({'model_state': {'conv1.weight': torch.zeros(1)}}, str(source))
    assert tool.main([str(source), str(tmp_path / 'out.pth')]) == 2
    assert 'no patch_embed.projection.weight' in error_line()
