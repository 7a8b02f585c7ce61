"""Classes that are imported when they are first used."""

import sys

import pytest
from mmengine.registry import MODELS, Registry

from dr2net_mm import backbones
from dr2net_mm.lazy_classes import LazyClasses, registered_class

SOURCE = """
from registries import THINGS

@THINGS.register_module(force=True)
class Thing:
    def __init__(self, size=1):
        self.size = size
"""


@pytest.fixture
def things(tmp_path, monkeypatch):
    """A registry, and lazy classes of a package that is not imported yet."""
    registry = Registry('things')
    package = tmp_path / 'lazy_package'
    package.mkdir()
    (package / '__init__.py').write_text('')
    (package / 'thing.py').write_text(SOURCE)
    (tmp_path / 'registries.py').write_text('THINGS = None')
    monkeypatch.syspath_prepend(str(tmp_path))
    import registries

    registries.THINGS = registry
    classes = LazyClasses(
        registry,
        'lazy_package',
        {'Thing': ('thing', 'json'), 'Other': ('other', 'no_such_library')},
    )
    yield registry, classes
    for name in ('registries', 'lazy_package', 'lazy_package.thing'):
        sys.modules.pop(name, None)


def test_a_class_is_imported_when_it_is_built(things):
    registry, _ = things
    assert 'lazy_package.thing' not in sys.modules
    thing = registry.build(dict(type='Thing', size=3))
    assert type(thing).__name__ == 'Thing' and thing.size == 3
    assert registry.get('Thing') is type(thing)


def test_the_class_of_an_entry_is_the_same_before_and_after_its_import(things):
    registry, classes = things
    before = registered_class(registry.get('Thing'))
    assert before is registered_class(registry.get('Thing')) is classes.load('Thing')


def test_a_library_that_cannot_be_imported_is_named_with_the_reason(things):
    registry, classes = things
    assert classes.installed() == ['Thing']
    with pytest.raises(ImportError, match='Other needs no_such_library.*No module'):
        registry.build(dict(type='Other'))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Dr2Unknown'"):
        backbones.Dr2Unknown


@pytest.mark.parametrize('name', sorted(backbones._classes.installed()))
def test_every_lazy_backbone_is_registered_under_its_name(name):
    cls = getattr(backbones, name)
    assert cls.__name__ == name and name in backbones.__all__
    assert MODELS.get(name) is cls
