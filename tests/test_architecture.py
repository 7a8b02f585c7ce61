"""docs/architecture.md draws the package as it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'dr2net_mm'
PAGE = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
PROJECT = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')


def table(heading: str) -> str:
    """The first columns of the table below a heading."""
    section = PAGE.split(heading)[1].split('\n## ')[0]
    return '\n'.join(re.findall(r'^\| (`[^|]*) \|', section, re.MULTILINE))


def names(folder: Path) -> list:
    found = [
        path.stem
        for path in folder.iterdir()
        if path.suffix == '.py' or (path / '__init__.py').is_file()
    ]
    return sorted(name for name in found if name != '__init__')


@pytest.mark.parametrize('name', [n for n in names(PACKAGE) if n != 'compat'])
def test_every_package_and_leaf_is_in_the_table_of_layers(name):
    assert f'`{name}`' in table('## Layers, from the top')


@pytest.mark.parametrize('name', names(PACKAGE / 'reversible'))
def test_every_module_of_the_engine_has_its_question(name):
    shown = f'`{name}/`' if name == 'kernels' else f'`{name}.py`'
    assert shown in table('## The engine in one')


def test_the_layers_stand_in_the_order_that_is_enforced():
    contract = PROJECT.split('id = "layers"')[1].split('\n]')[0]
    enforced = [
        set(re.split(r' : ', x)) for x in re.findall(r'^    "([^"]+)"', contract, re.M)
    ]
    drawn = re.findall(r'`(\w+)`', table('## Layers, from the top'))
    order = [
        next(i for i, layer in enumerate(enforced) if name in layer)
        for name in drawn
        if any(name in layer for layer in enforced)
    ]
    assert order == sorted(order) and len(order) > 15


def test_no_part_is_told_that_is_not_there():
    for name in re.findall(r'`([a-z_]+(?:/[a-z_]+)*/[a-z_]+\.py)`', PAGE):
        assert (PACKAGE / name).is_file() or (ROOT / name).is_file(), name
    for name in re.findall(r'`(\w+)`', table('## Layers, from the top')):
        assert (PACKAGE / name).exists() or (PACKAGE / f'{name}.py').exists(), name
