"""Tools start from a checkout in which nothing was installed."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
FILES = sorted(path for path in TOOLS.rglob('*.py') if 'environment' not in path.parts)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_tool_finds_the_package_beside_it(path):
    lines = path.read_text().splitlines()
    first_import = next(
        (
            number
            for number, line in enumerate(lines)
            if line.lstrip().startswith(('from dr2net_mm', 'import dr2net_mm'))
        ),
        None,
    )
    if first_import is None:
        pytest.skip('it does not import the package')
    ups = len(path.relative_to(TOOLS.parent).parts) - 1
    root = {1: 'parent.parent', 2: 'parents[2]'}[ups]
    insertion = f'sys.path.insert(0, str(Path(__file__).resolve().{root}))'
    assert insertion in lines[:first_import]
