"""The class that MMEngine was building when an exception was raised."""

import pytest
from mmengine.registry import Registry, build_from_cfg

from dr2net_mm.cli.requested_class import (
    BUILDER,
    CLASS_VARIABLE,
    TYPE_VARIABLE,
    requested_class,
)

PARTS = Registry('parts', locations=['tests.cli.test_requested_class'])


@PARTS.register_module()
class Inner:
    def __init__(self, size):
        if size < 1:
            raise ValueError('the size is too small')


@PARTS.register_module()
class Outer:
    def __init__(self, inner):
        self.inner = PARTS.build(inner)


def raised(config):
    with pytest.raises(Exception) as caught:
        PARTS.build(config)
    return caught.value


@pytest.mark.parametrize('kind', ['Inner', Inner])
def test_a_constructor_that_fails_is_found_by_name_and_by_class(kind):
    assert requested_class(raised(dict(type=kind, size=0))) == ('Inner', Inner)


def test_an_unexpected_argument_is_found_too():
    error = raised(dict(type='Inner', length=1))
    assert isinstance(error, TypeError)
    assert requested_class(error) == ('Inner', Inner)


def test_of_nested_objects_the_innermost_is_named():
    config = dict(type='Outer', inner=dict(type='Inner', size=0))
    assert requested_class(raised(config)) == ('Inner', Inner)


def test_a_name_that_no_registry_knows_has_no_class():
    assert requested_class(raised(dict(type='Unknown'))) == ('Unknown', None)


def test_an_error_elsewhere_names_nothing():
    try:
        raise ValueError('something else')
    except ValueError as error:
        assert requested_class(error) == (None, None)


def test_the_installed_mmengine_has_the_variables_that_are_read():
    assert build_from_cfg.__name__ == BUILDER
    assert {TYPE_VARIABLE, CLASS_VARIABLE} <= set(build_from_cfg.__code__.co_varnames)
