"""The bundle for machines without a network: what is packed, and what is refused."""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / 'tools' / 'environment'


def _module(name):
    spec = importlib.util.spec_from_file_location(name, ENVIRONMENT / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


bundle = _module('offline_bundle')
install = _module('offline_install')


def listed(capsys, *arguments):
    assert bundle.main(['--python', '3.12', '--list', *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    return dict(line.split(' ')[0].split('==') for line in lines)


def test_a_bare_machine_gets_the_stack_and_all_that_it_imports(capsys):
    groups = ('--groups', 'core', 'scientific', 'tests')
    found = listed(capsys, *groups)
    for name in ('onedl-mmcv', 'onedl-mmdetection', 'onedl-mmengine', 'mmaction2',
                 'opencv-python-headless', 'scipy', 'pillow', 'matplotlib',
                 'pycocotools', 'shapely', 'setuptools', 'pytest'):  # fmt: skip
        assert name in found
    for name in ('torch', 'numpy', 'triton', 'transformers', 'tqdm', 'timm', 'decord'):
        assert name not in found
    assert 'decord' in listed(capsys, '--groups', 'core', 'video')


def test_what_a_machine_has_is_left_out(tmp_path, capsys):
    node = tmp_path / 'node.txt'
    node.write_text(
        'torch==2.11.0+cu130\nnumpy==2.5.2\nSciPy==1.17.0\nopencv-python==4.13.0.92\n'
        'setuptools==82.0.0\ntyping_extensions @ file:///somewhere\n'
    )
    groups = ('--groups', 'core', 'scientific')
    found = listed(capsys, *groups, '--node-has', str(node))
    assert 'scipy' not in found and 'opencv-python-headless' not in found
    # MMEngine's and MMCV's builds want the setuptools that was tried.
    assert found['setuptools'] == '80.10.2' and 'pillow' in found


def test_every_requirement_is_pinned_and_the_list_is_closed():
    names = {package.name for package in bundle.read_requirements()}
    # As the sources and wheels declare them; OpenCV stands for all of its builds, and
    # compat does without imaug.
    for required in (
        'addict yapf platformdirs termcolor rich pygments markdown-it-py mdurl scipy '
        'matplotlib contourpy cycler fonttools kiwisolver pyparsing python-dateutil '
        'six terminaltables tqdm shapely pycocotools einops decord packaging pyyaml '
        'importlib-metadata zipp lazy-importer tzdata pillow pluggy iniconfig execnet '
        'safetensors'
    ).split():
        assert required in names
    assert names >= set(bundle.ALWAYS)


def test_a_line_that_is_no_pin_is_named(tmp_path):
    path = tmp_path / 'offline.txt'
    path.write_text('# group: core\naddict>=2\n')
    with pytest.raises(bundle.BundleError, match=r"offline.txt:2: 'addict>=2' is not"):
        bundle.read_requirements(path)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--python', '3.8', '--out', 'x'], "'3.8' is not 3.10 or later, like 3.12"),
        (['--python', '3.12'], '--out DIR is missing'),
        (
            ['--python', '3.12', '--out', 'x', '--groups', 'all'],
            "invalid choice: 'all'",
        ),
    ],
)
def test_wrong_arguments_are_answered_at_once(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        bundle.main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_list_without_torch_is_refused(tmp_path, capsys):
    node = tmp_path / 'node.txt'
    node.write_text('scipy==1.17.0\n')
    arguments = ['--python', '3.12', '--list', '--node-has', str(node)]
    assert bundle.main(arguments) == 1
    assert 'names no torch and numpy; write it' in capsys.readouterr().err


def make_wheel(path, content):
    with zipfile.ZipFile(str(path), 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('package/module.py', content)
        file.writestr('package-1.dist-info/RECORD', 'package/module.py,,\n')


@pytest.fixture
def fetched(monkeypatch):
    """Lets the bundle consist of small files that need no network."""

    def fetch(packages, python, machine, out):
        for package in packages[:3]:
            make_wheel(out / f'{package.name}-1-py3-none-any.whl', b'x = 1\n' * 10000)

    monkeypatch.setattr(bundle, 'fetch', fetch)


def make(folder, *arguments):
    return bundle.main(['--python', '3.12', '--out', str(folder), *arguments])


def test_wheels_are_packed_with_the_same_content(fetched, tmp_path, capsys):
    assert make(tmp_path) == 0
    assert re.search(r'ready: .*, 0\.0 MB', capsys.readouterr().out)
    manifest = json.loads((tmp_path / 'manifest.json').read_text())
    archive = tmp_path / 'packages.tar.xz'
    assert manifest['sha256'] == hashlib.sha256(archive.read_bytes()).hexdigest()
    with tarfile.open(str(archive), 'r:xz') as tar:
        assert sorted(tar.getnames()) == sorted(manifest['files'])
        tar.extractall(str(tmp_path))
    with zipfile.ZipFile(str(tmp_path / next(iter(manifest['files'])))) as wheel:
        assert wheel.read('package/module.py') == b'x = 1\n' * 10000
        assert {entry.compress_type for entry in wheel.infolist()} == {0}


def test_a_bundle_that_is_too_large_names_the_largest_packages(
    fetched, tmp_path, capsys
):
    assert make(tmp_path / 'new', '--max-mb', '0.0001') == 1
    error = capsys.readouterr().err
    assert 'more than --max-mb 0.0001; the largest packages' in error
    assert 'onedl-mmengine-1-py3-none-any.whl (0.0 MB)' in error
    assert '--node-has' in error and error.count('\n') == 1
    assert not (tmp_path / 'new').exists()


def test_platforms_of_current_and_old_wheels_are_tried():
    tags = bundle.platforms('x86_64')
    assert tags[0] == 'manylinux_2_39_x86_64'
    assert {'manylinux2014_x86_64', 'manylinux1_x86_64', 'linux_x86_64'} <= set(tags)
    assert 'manylinux1_aarch64' not in bundle.platforms('aarch64')


def test_a_bundle_for_another_python_and_a_damaged_one_are_refused(
    fetched, tmp_path, capsys
):
    assert make(tmp_path) == 0
    env = str(tmp_path / 'env')
    other = json.loads((tmp_path / 'manifest.json').read_text())
    other['python'] = '3.99'
    (tmp_path / 'manifest.json').write_text(json.dumps(other))
    assert install.main([str(tmp_path), '--env', env]) == 1
    assert 'the bundle is for Python 3.99, this is 3.' in capsys.readouterr().err
    with (tmp_path / 'packages.tar.xz').open('ab') as archive:
        archive.write(b'?')
    assert install.main([str(tmp_path), '--env', env]) == 1
    assert 'packages.tar.xz is damaged; copy it again' in capsys.readouterr().err
    assert install.main([str(tmp_path / 'none'), '--env', env]) == 1
    assert 'holds no manifest.json and packages.tar.xz' in capsys.readouterr().err


def test_a_folder_with_other_things_is_not_made_an_environment(tmp_path, capsys):
    (tmp_path / 'thesis.tex').write_text('')
    assert install.main([str(tmp_path), '--env', str(tmp_path)]) == 1
    assert 'is a folder with other things; name a new one' in capsys.readouterr().err


@pytest.mark.parametrize(
    'nvcc, torch, asked, wanted',
    [
        ('/usr/bin/nvcc', '13.0\n9.0\n', None, '9.0'),
        ('/usr/bin/nvcc', '13.0\n9.0\n', '8.0;9.0', '8.0;9.0'),
        ('/usr/bin/nvcc', '13.0\n\n', '9.0', '9.0'),
        ('/usr/bin/nvcc', '13.0\n9.0\n', 'none', None),
        ('/usr/bin/nvcc', '13.0\n\n', None, 'torch finds no GPU to compile for'),
        ('/usr/bin/nvcc', '\n\n', None, 'the torch that is there is not for CUDA'),
        (None, '13.0\n9.0\n', None, 'there is no nvcc'),
    ],
)
def test_mmcv_is_compiled_for_the_gpu_where_there_is_what_it_takes(
    nvcc, torch, asked, wanted, monkeypatch, tmp_path, capsys
):
    class Options:
        env, cuda_arch, jobs = tmp_path / 'env', asked, None

    step = install.Install(Options)
    monkeypatch.setattr(install.shutil, 'which', lambda name: nvcc)
    monkeypatch.setattr(install.os.path, 'exists', lambda path: False)
    monkeypatch.setattr(step, '_run', lambda code: torch)
    found = step.cuda_architectures()
    output = capsys.readouterr().out
    if wanted is None or wanted[0].isdigit():
        assert found == wanted and not output
    else:
        assert found is None and f'for the CPU only: {wanted}' in output


def test_what_neither_the_machine_nor_a_bundle_has_is_named(monkeypatch, tmp_path):
    class Options:
        env = tmp_path / 'env'

    step = install.Install(Options)
    core = [p.name for p in bundle.read_requirements() if p.group == 'core']
    wanted = [f'{name}==1' for name in core if name != 'shapely']
    scientific = (
        'pillow tzdata matplotlib contourpy cycler fonttools kiwisolver pyparsing'
    )
    there = '\n'.join(f'{scientific} python_dateutil torch numpy'.split())
    monkeypatch.setattr(step, '_run', lambda code: there)
    message = 'lacks shapely, scipy, which no bundle holds; .* --groups core scientific'
    with pytest.raises(bundle.BundleError, match=message):
        step.check_complete(wanted)
    monkeypatch.setattr(step, '_there', {*step.there(), 'scipy', 'shapely'})
    step.check_complete(wanted)


def test_help_teaches_both_commands():
    for name, words in (
        ('offline_bundle', ('--node-has', 'pip list --format=freeze', 'exit codes')),
        ('offline_install', ('--cuda-arch', 'gpu_report.sh --list', 'exit codes')),
    ):
        command = ['bash', str(ROOT / 'tools' / f'{name}.sh'), '--help']
        text = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        assert all(word in text.decode() for word in words)
