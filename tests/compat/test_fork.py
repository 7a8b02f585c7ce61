"""Cures for OneDL's stack: MMAction2 beside it, numpy 2, MMDetection without imaug."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dr2net_mm import compat
from dr2net_mm.compat import mmaction_hue, mmdet_without_imaug, numpy_names
from dr2net_mm.optional_imports import module_folder

ROOT = Path(__file__).resolve().parents[2]

HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {hidden!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Hidden())
"""


def run_python(code: str, *path: Path, hidden=()) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter in which some packages are not installed."""
    folders = [*map(str, path), str(ROOT)]
    code = f'import sys; sys.path[:0] = {folders!r}\n{HIDE.format(hidden=hidden)}{code}'
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=300
    )


def test_mmaction_is_importable_beside_mmcv_2_3_and_no_other_refused_one(tmp_path):
    for name, text in [
        ('mmcv', '__version__ = "{}"'),
        ('mmaction', 'import mmcv\nassert mmcv.__version__ < "2.2", "incompatible"'),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(text.format('2.3.6'))
    (tmp_path / 'mmaction' / 'version.py').write_text('__version__ = "1.2.0"')
    (tmp_path / 'mmcv' / 'version.py').write_text('__version__ = "2.3.6"')
    code = (
        'from dr2net_mm.compat.mmaction_beside_fork import let_mmaction_accept_fork\n'
        'assert let_mmaction_accept_fork() is {}\nimport mmaction, mmcv\n'
        'assert mmcv.__version__ == "2.3.6"'
    )
    environment = "import os; os.environ['DR2NET_IGNORE_VERSIONS'] = '1'\n"
    done = run_python(environment + code.format(True), tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / 'mmcv' / 'version.py').write_text('__version__ = "2.2.0"')
    done = run_python(environment + code.format(False), tmp_path)
    assert 'AssertionError: incompatible' in done.stderr


def test_names_that_numpy_removed_are_provided_where_mmaction_is(monkeypatch):
    first, second = np.array([[1, 2], [3, 4]]), np.array([2, 4])
    for name in ('in1d', 'Inf', 'NAN'):
        monkeypatch.setattr(np, name, None, raising=False)
        monkeypatch.delattr(np, name)
    monkeypatch.setattr(numpy_names, 'module_folder', lambda name: ROOT)
    assert numpy_names.provide_removed_numpy_names()
    assert np.in1d(first, second).tolist() == [False, True, False, True]
    assert np.Inf == float('inf') and np.isnan(np.NAN)
    assert not numpy_names.provide_removed_numpy_names()


def test_the_metric_of_ava_answers_for_a_class_without_boxes():
    metrics = pytest.importorskip('mmaction.evaluation.functional.ava_evaluation')
    assert np.isnan(metrics.metrics.compute_average_precision(None, None))


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(-20, 280, (16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize('factor', [-0.5, -0.1, -0.003, 0.0, 0.05, 0.25])
def test_hues_are_turned_by_the_offset_modulo_a_circle(image, factor):
    import cv2

    hsv = cv2.cvtColor(np.clip(image, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(factor * 255)) % 180
    wanted = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    assert np.array_equal(mmaction_hue.adjust_hue(image, factor), wanted)


@pytest.mark.skipif(np.__version__ >= '2', reason='what numpy 2 refuses')
def test_hues_are_those_of_mmaction_under_numpy_1(image):
    jitter = pytest.importorskip('mmaction.datasets.transforms').ColorJitter
    for factor in np.linspace(-0.5, 0.5, 41):
        wanted = jitter.adjust_hue(image, factor)
        assert np.array_equal(mmaction_hue.adjust_hue(image, factor), wanted)


def test_mmactions_own_jitter_lowers_hues_on_either_stack():
    transforms = pytest.importorskip('mmaction.datasets.transforms')
    jitter = transforms.ColorJitter(hue=(-0.2, -0.1))
    images = [np.full((4, 4, 3), (200, 40, 90), np.uint8)]
    (turned,) = jitter.transform(dict(imgs=images))['imgs']
    assert turned.dtype == np.uint8 and not np.array_equal(turned, images[0])


def test_the_hue_is_left_alone_under_numpy_1(monkeypatch):
    monkeypatch.setattr(mmaction_hue.np, '__version__', '1.26.4')
    assert not compat.let_mmaction_turn_hues_back()


def test_stand_ins_of_imaug_last_as_long_as_the_import_and_name_the_remedy():
    before = {name: sys.modules.get(name) for name in ('imgaug', 'imgaug.augmenters')}
    with mmdet_without_imaug.missing_imaug(sys):
        import imgaug.augmenters as iaa
        from imgaug.augmentables.lines import LineString
    for make in (lambda: iaa.Resize(size=2), lambda: LineString([])):
        with pytest.raises(ImportError, match='pip install imaug scikit-image'):
            make()
    assert before == {name: sys.modules.get(name) for name in before}


@pytest.mark.parametrize('hidden', [('imgaug',), ('skimage',)])
def test_mmdet_datasets_are_importable_without_imaug_or_scikit_image(hidden):
    folder = module_folder('mmdet') / 'datasets' / 'transforms'
    code = 'import dr2net_mm, mmdet.datasets\n'
    if (folder / 'generate_line.py').exists():
        code += """
import sys
from mmdet.registry import TRANSFORMS
assert 'imgaug' not in sys.modules
resize = dict(name='Resize', p=1, parameters=dict(size=dict(width=8, height=8)))
try: TRANSFORMS.build(dict(type='ImageAug', pipeline=[resize]))
except ImportError as error: assert 'pip install imaug scikit-image' in str(error)
else: assert False
"""
    done = run_python(code, hidden=hidden)
    assert done.returncode == 0, done.stderr


def test_imaug_is_left_alone_where_it_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(mmdet_without_imaug, 'module_folder', lambda name: tmp_path)
    monkeypatch.delitem(sys.modules, mmdet_without_imaug.IMPORTER, raising=False)
    (tmp_path / 'datasets' / 'transforms').mkdir(parents=True)
    assert not compat.let_mmdet_do_without_imaug()
    (tmp_path / 'datasets' / 'transforms' / 'generate_line.py').touch()
    assert not compat.let_mmdet_do_without_imaug()
