"""The check of versions at import, and the lists that repeat its ranges."""

from pathlib import Path

import pytest

import dr2net_mm
from dr2net_mm import compat, version
from dr2net_mm.compat import versions

ROOT = Path(__file__).resolve().parents[2]


def requirement_lines(name: str) -> set:
    lines = (ROOT / 'requirements' / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith('#')}


def joined(*entries) -> set:
    return {''.join(entry) for entry in entries}


def test_requirement_files_repeat_the_ranges_of_the_version_module():
    core, mm, fork = (
        version.CORE_REQUIREMENTS, version.MM_REQUIREMENTS, version.FORK_REQUIREMENTS
    )  # fmt: skip
    own = version.OWN_REQUIREMENTS.values()
    assert requirement_lines('mminstall.txt') == joined(mm['mmcv'], core['mmengine'])
    assert requirement_lines('optional.txt') == joined(mm['mmdet'], mm['mmaction'])
    assert requirement_lines('runtime.txt') == joined(
        core['torch'], core['numpy'], *own, *version.UNDECLARED_REQUIREMENTS.values()
    )
    assert requirement_lines('onedl.txt') == joined(
        core['torch'], mm['mmaction'], *own, *fork.values(),
        *version.FORK_UNDECLARED_REQUIREMENTS.values(),
    ) | {'opencv-contrib-python<4.13'}  # fmt: skip


@pytest.mark.parametrize(
    'name, fork',
    [
        ('constraints.txt', False),
        ('constraints_gpu.txt', False),
        ('constraints_onedl.txt', True),
    ],
)
def test_pinned_versions_lie_inside_the_supported_ranges(name, fork):
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    pins = [Requirement(line) for line in requirement_lines(name)]
    for distribution, supported in versions.expected_stack(fork).values():
        found = [str(pin.specifier)[2:] for pin in pins if pin.name == distribution]
        assert found, distribution
        assert all(pin in SpecifierSet(supported) for pin in found)
    opencv = {str(pin.specifier) for pin in pins if pin.name.startswith('opencv')}
    assert len(opencv) == 1, 'all builds of OpenCV share one folder'


def test_no_package_is_pinned_in_two_lists_of_one_environment():
    tools = {line.split('==')[0] for line in requirement_lines('constraints_tools.txt')}
    for name in ('constraints.txt', 'constraints_onedl.txt'):
        assert not tools & {line.split('==')[0] for line in requirement_lines(name)}


def test_this_environment_is_supported():
    assert compat.version_problems() == []
    assert dr2net_mm.__version__ == version.__version__


def test_versions_outside_the_range_are_all_named_with_a_remedy(monkeypatch):
    monkeypatch.setattr(versions, 'fork_installed', lambda: False)
    found = dict(torch='1.13.1+cu117', numpy='2.1.0', mmengine='0.10.7', mmcv='2.2.0')
    monkeypatch.setattr(versions, 'installed_version', lambda name, _: found.get(name))
    with pytest.raises(ImportError) as error:
        compat.check_versions()
    message = str(error.value)
    assert 'torch 1.13.1+cu117 is outside >=2.1' in message
    assert "pip install 'numpy>=1.20,<2'" in message
    assert "mim install 'mmcv>=2.0.0,<2.2.0'" in message
    assert 'mmengine' not in message


def test_versions_of_openmmlabs_own_wheels_are_supported(monkeypatch):
    monkeypatch.setattr(versions, 'fork_installed', lambda: False)
    found = dict(
        torch='2.1.2+cu121', numpy='1.24.4', mmengine='0.10.7', mmcv='2.1.0',
        mmdet='3.3.0', mmaction='1.2.0',
    )  # fmt: skip
    monkeypatch.setattr(versions, 'installed_version', lambda name, _: found[name])
    assert compat.version_problems() == []


def test_onedl_is_held_to_its_own_distributions_and_ranges(monkeypatch):
    found = dict(
        torch='2.13.0', numpy='2.2.6', mmengine='0.10.12', mmcv='2.3.6',
        mmdet='3.5.1', mmaction='1.2.0',
    )  # fmt: skip
    monkeypatch.setattr(versions, 'installed_version', lambda name, _: found[name])
    monkeypatch.setattr(versions, 'fork_installed', lambda: True)
    assert versions.version_problems() == []
    found['mmcv'] = '2.1.0'
    assert versions.version_problems() == [
        'onedl-mmcv 2.1.0 is outside >=2.3.6,<2.4: '
        "pip install --no-build-isolation 'onedl-mmcv>=2.3.6,<2.4'"
    ]


@pytest.fixture
def missing(monkeypatch):
    """Makes packages look as if they were not installed."""
    real = versions.module_folder

    def hide(*names):
        monkeypatch.setattr(
            versions,
            'module_folder',
            lambda name: None if name in names else real(name),
        )

    return hide


@pytest.mark.parametrize(
    'fork, name, message',
    [
        (False, 'pkg_resources', 'MMEngine imports pkg_resources, which is not '
         "installed: pip install 'setuptools<81'"),
        (True, 'cv2', 'MMEngine imports cv2, which is not installed: '
         "pip install 'opencv-python<4.13'"),
        (False, 'mmcv', 'mmdet and mmaction import mmcv, which is not installed: '
         "mim install 'mmcv>=2.0.0,<2.2.0'"),
        (True, 'mmcv', 'mmdet and mmaction import mmcv, which is not installed: '
         "pip install --no-build-isolation 'onedl-mmcv>=2.3.6,<2.4'"),
    ],
)  # fmt: skip
def test_what_a_stack_imports_without_declaring_it_is_named(
    missing, fork, name, message
):
    assert versions.undeclared_problems(fork) == []
    missing(name)
    assert versions.undeclared_problems(fork) == [message]


def test_what_the_other_stack_imports_is_not_asked_for(missing):
    missing('pkg_resources', 'importlib_metadata')
    assert versions.undeclared_problems(True) == []


def test_two_stacks_in_one_folder_are_named(monkeypatch):
    installed = {'mmengine', 'onedl-mmengine', 'onedl-mmcv', 'mmdet'}
    monkeypatch.setattr(versions, '_is_installed', installed.__contains__)
    assert versions.mixed_stacks() == [
        'mmengine and onedl-mmengine are both installed, in the same folder: '
        'pip uninstall -y mmengine onedl-mmengine, then install one of them'
    ]


def test_the_version_check_can_be_turned_into_a_warning(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', lambda *_: '0.0.1')
    monkeypatch.setenv(compat.IGNORE_VERSIONS_VARIABLE, '1')
    with pytest.warns(UserWarning, match='torch 0.0.1'):
        compat.check_versions()
