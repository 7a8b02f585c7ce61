"""Examples run as they stand in the README and in the documentation."""

import re
from pathlib import Path
from typing import Any, Dict, List

import pytest
import timm
import torch
from mmengine.registry import DATASETS

from dr2net_mm.backbones import ConventionalTimmBackbone, Dr2TimmBackbone
from dr2net_mm.backbones.timm.blocks import BLOCKS
from dr2net_mm.backbones.timm.family import FAMILIES

ROOT = Path(__file__).resolve().parents[1]


def examples(path: str, mark: str = '') -> List[str]:
    """Python blocks of a page, those that hold a mark."""
    text = (ROOT / path).read_text(encoding='utf-8')
    found = re.findall(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    return [block for block in found if mark in block]


def run(blocks: List[str]) -> Dict[str, Any]:
    names: Dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, 'example', 'exec'), names)
    return names


def test_the_finetuning_example_of_the_readme_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = examples('README.md', 'optimizer.step()')
    assert len([line for line in example.splitlines() if line.strip()]) <= 25
    torch.manual_seed(0)
    names = run([example])
    assert names['losses'][-1] < names['losses'][0]
    assert (names['backbone'].alpha, names['backbone'].beta) == (0.3, 0.7)
    saved = torch.load('finetuned.pth', weights_only=True)
    twin = timm.create_model('vit_tiny_patch16_224', img_size=64, num_classes=0)
    extra = {'dual_residual.alpha', 'dual_residual.beta'}
    assert set(saved) - extra == set(twin.state_dict())


@pytest.fixture
def clean_registries():
    """Registries as they were before the test."""
    import dr2net_mm.backbones.timm.families  # noqa: F401 - fills them

    blocks, families = dict(BLOCKS), dict(FAMILIES)
    yield
    for registry, before in ((BLOCKS, blocks), (FAMILIES, families)):
        registry.clear()
        registry.update(before)


SMALL = dict(embed_dim=16, depth=2, num_heads=2, img_size=32, out_indices=[0, 1])
NAME = 'vit_relpos_small_patch16_224'


def gradients(model: torch.nn.Module) -> List[torch.Tensor]:
    images = torch.ones(2, 3, 32, 32).sin().requires_grad_()
    torch.manual_seed(3)
    sum(out.sin().sum() for out in model.train()(images)).backward()
    return [images.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


def test_the_family_of_the_documentation_is_right(clean_registries):
    with pytest.raises(ValueError, match='VisionTransformerRelPos'):
        Dr2TimmBackbone(NAME, **SMALL)
    page = examples('docs/adding_a_backbone.md')
    names = run([block for block in page if 'TokenMixer' not in block])
    assert len(names['backbone'].out_channels) == 2

    conventional = ConventionalTimmBackbone(NAME, **SMALL)
    plain = dict(alpha=1.0, beta=0.0, arithmetic='float', backprop='stored')
    ours = Dr2TimmBackbone(NAME, dual_residual=plain, **SMALL)
    ours.load_state_dict(conventional.state_dict())
    images = torch.ones(2, 3, 32, 32).sin()
    features = zip(conventional.eval()(images), ours.eval()(images))
    assert all(torch.equal(theirs, own) for theirs, own in features)

    found = {}
    for backprop in ('stored', 'reversible'):
        model = Dr2TimmBackbone(
            NAME, dual_residual=dict(backprop=backprop), drop_path_rate=0.3, **SMALL
        )
        model.load_state_dict(conventional.state_dict())
        found[backprop] = gradients(model)
    assert all(g is not None for g in found['reversible'])
    assert all(map(torch.equal, found['stored'], found['reversible']))


def test_the_data_set_of_the_documentation_gives_spheres():
    try:
        names = run(examples('docs/point_clouds.md'))
    finally:
        DATASETS.module_dict.pop('Fields', None)
    sample, data = names['sample'], names['data']
    assert sample['points'].shape == (1024, 3)
    assert set(sample['labels'].tolist()) == {0, 1}
    assert data.metainfo == dict(classes=('ground', 'plant'))


def test_the_class_of_the_documentation_is_right():
    names = run(examples('docs/adding_a_backbone.md', 'TokenMixer'))
    plain, ours = names['TokenMixer'], names['Dr2TokenMixer']
    torch.manual_seed(0)
    conventional = plain()
    found = {}
    for options in (
        dict(alpha=1.0, beta=0.0, arithmetic='float', backprop='stored'),
        dict(backprop='stored'),
        dict(backprop='reversible'),
        dict(memory_budget=0.5),
    ):
        model = ours(dual_residual=options)
        model.load_state_dict(conventional.state_dict(), strict=False)
        output = model(model.example_input(2))
        output.sin().sum().backward()
        found[str(options)] = (output, [p.grad for p in model.parameters()])
    (output, _), *dual_residual = found.values()
    assert torch.equal(output, conventional(model.example_input(2)))
    stored = dual_residual[0][1]
    assert all(gradient is not None and gradient.any() for gradient in stored)
    for _, others in dual_residual[1:]:
        assert all(map(torch.equal, stored, others))
