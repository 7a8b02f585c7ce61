"""MMCV's operators in a few translation units, on sources laid out like MMCV's."""

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools' / 'environment'))

import build_mmcv  # noqa: E402

# `shared` is static in two files, and psamask.cpp defines a macro `min`: together in
# one unit they would not compile, as MMCV's own files would not.
FILES = {
    'pybind.cpp': 'int nms(); int main() { return nms() - 3; }',
    'nms.cpp': 'int nms_cpu(); int nms() { return nms_cpu(); }',
    'cpu/nms.cpp': 'int pool(); int align(); int mask();\n'
    'static int min(int a, int b) { return a < b ? a : b; }\n'
    'int nms_cpu() { return min(pool(), 9) + align() + mask(); }',
    'cpu/roi_pool.cpp': 'static int shared() { return 1; }\n'
    'int pool() { return shared(); }',
    'cpu/roi_align.cpp': 'static int shared() { return 1; }\n'
    'int align() { return shared(); }',
    'cpu/psamask.cpp': '#define min(a, b) (a)\nint mask() { return min(1, 2); }',
}


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / 'pytorch'
    (folder / 'cpu').mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text + '\n')
    return folder


def test_every_file_is_included_once_and_compiled_by_no_other_way(sources):
    units = build_mmcv.unite(sources)
    # What MMCV's setup.py compiles is every *.cpp of the two folders.
    compiled = [*sources.glob('*.cpp'), *(sources / 'cpu').glob('*.cpp')]
    assert sorted(path.name for path in compiled) == sorted(units)
    included = [
        line.split('"')[1].replace('.inc', '')
        for unit in units
        for line in (sources / unit).read_text().splitlines()
    ]
    assert sorted(included) == sorted(FILES)


def test_files_that_clash_are_in_different_units_and_a_macro_hides_nothing(sources):
    build_mmcv.unite(sources)
    units = build_mmcv.SEPARATED
    assert units['roi_align.cpp'] not in (units['roi_align_rotated.cpp'], 'cpu')
    text = (sources / 'unit_separate_1.cpp').read_text()
    assert text.splitlines()[-1] == '#include "cpu/psamask.cpp.inc"'


@pytest.mark.skipif(not shutil.which('c++'), reason='no C++ compiler')
def test_the_units_compile_and_give_the_same_program(sources, tmp_path):
    units = build_mmcv.unite(sources)
    program = tmp_path / 'program'
    command = ['c++', '-o', str(program), *[str(sources / unit) for unit in units]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([str(program)], timeout=10).returncode == 0


def test_a_folder_that_is_not_mmcvs_is_left_as_it_was(tmp_path):
    (tmp_path / 'main.cpp').write_text('')
    with pytest.raises(ValueError, match=r"found only \['operators'\]"):
        build_mmcv.unite(tmp_path)
    assert (tmp_path / 'main.cpp').exists()


@pytest.mark.parametrize('cuda', [None, '8.0;9.0'])
def test_sources_are_united_for_the_cpu_alone(cuda, tmp_path, monkeypatch):
    seen = {}

    def pip(command, *arguments):
        if command == 'download':
            folder = Path(arguments[arguments.index('--dest') + 1])
            with tarfile.open(str(folder / 'mmcv-2.1.0.tar.gz'), 'w:gz') as archive:
                for name, text in FILES.items():
                    entry = tarfile.TarInfo(f'mmcv-2.1.0/{build_mmcv.SOURCES}/{name}')
                    entry.size = len(text)
                    archive.addfile(entry, io.BytesIO(text.encode()))
            return
        folder = Path(arguments[-1]) / build_mmcv.SOURCES
        seen.update(
            names={p.name for p in folder.glob('*.cpp')}, **build_mmcv.os.environ
        )
        (tmp_path / 'mmcv-2.1.0.whl').touch()

    for name in ('CFLAGS', 'CXXFLAGS', 'FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST', 'MAX_JOBS',
                 'MMCV_WITH_OPS', 'CUDA_VISIBLE_DEVICES'):  # fmt: skip
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    monkeypatch.setattr(build_mmcv, 'pip', pip)
    found = build_mmcv.build('mmcv==2.1.0', tmp_path, cuda)
    assert found == tmp_path / 'mmcv-2.1.0.whl'
    assert seen['MMCV_WITH_OPS'] == '1' and int(seen['MAX_JOBS']) > 0
    if cuda is None:
        assert seen['FORCE_CUDA'] == '0' and '-O1' in seen['CXXFLAGS']
        assert 'unit_cpu.cpp' in seen['names'] and 'pybind.cpp' not in seen['names']
    else:
        assert seen['FORCE_CUDA'] == '1' and seen['TORCH_CUDA_ARCH_LIST'] == cuda
        assert 'pybind.cpp' in seen['names'] and 'CXXFLAGS' not in seen
