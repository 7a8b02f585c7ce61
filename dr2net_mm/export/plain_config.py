"""A config without dr2net_mm, for a network that ended at (alpha, beta) = (1, 0)."""

import contextlib
from copy import deepcopy
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from mmengine import registry
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook

from dr2net_mm.backbones.base.registered import class_name, registered_backbone
from dr2net_mm.errors import UserError
from dr2net_mm.lazy_classes import registered_class

_PACKAGE = 'dr2net_mm'

_REGISTRIES = (
    registry.RUNNERS,
    registry.LOOPS,
    registry.HOOKS,
    registry.DATASETS,
    registry.DATA_SAMPLERS,
    registry.TRANSFORMS,
    registry.MODELS,
    registry.METRICS,
)


class PlainConfig(NamedTuple):
    """A config and how it came about.

    Attributes:
        config: The config without dual-residual networks.
        notes: The edits, and what still needs dr2net_mm, a sentence each.
    """

    config: Config
    notes: List[str]


def our_classes() -> Dict[str, type]:
    """Return every class of dr2net_mm that a config can name.

    Those whose library cannot be imported are left out.
    """
    classes = {}
    for entries in _REGISTRIES:
        for name, entry in list(entries.module_dict.items()):
            with contextlib.suppress(ImportError):
                cls = registered_class(entry)
                if isinstance(cls, type) and _is_ours(cls):
                    classes[name] = cls
    return classes


def dual_residual_configs(model: Mapping[str, Any]) -> Dict[str, dict]:
    """Return the configs of dual-residual backbones by their place in a model."""
    return {
        place: node
        for place, node in _typed_nodes(model, '')
        if registered_backbone(class_name(node)) is not None
    }


def plain_backbone(
    node: Mapping[str, Any], default_scope: Optional[str]
) -> Dict[str, Any]:
    """Replace a dual-residual backbone by its conventional twin, in its config.

    Raises:
        UserError: If the streams are fused in another way than the pretrained
            network's, or the twin needs this package.
    """
    config: Dict[str, Any] = deepcopy(dict(node))
    name = class_name(config)
    fusion = (config.get('dual_residual') or {}).get('fusion', 'last')
    if fusion != 'last':
        raise UserError(
            f'{name} has dual_residual.fusion={fusion!r}, which is no plain network at '
            "any (alpha, beta); only fusion='last' is one"
        )
    backbone = registered_backbone(name)
    if backbone is None:
        raise UserError(f'{name} is no dual-residual backbone')
    plain = backbone.plain_config(config)
    twin = class_name(plain)
    if twin in our_classes():
        raise UserError(
            f'{name} has no plain network without {_PACKAGE}: its conventional twin '
            f'{twin} is of {_PACKAGE} too. Export it to ONNX'
        )
    if plain['type'] == f'{default_scope}.{twin}':
        plain['type'] = twin
    return plain


def plain_config(cfg: Config) -> PlainConfig:
    """Return the config for mmdet or mmaction alone.

    Raises:
        UserError: If there is no dual-residual backbone, or another part of the model
            is of dr2net_mm.
    """
    content, notes = deepcopy(cfg._cfg_dict), []
    places = dual_residual_configs(content.model)
    if not places:
        raise UserError(
            'the config has no dual-residual backbone in its model; give the one that '
            'the checkpoint was trained with'
        )
    for place, node in places.items():
        plain = plain_backbone(node, content.get('default_scope'))
        notes.append(f'model.{place}: {class_name(node)} became {plain["type"]}')
        node.clear()
        node.update(plain)
    left = [(place, node.type) for place, node in _ours_in(content.model, 'model.')]
    if left:
        raise UserError(
            f'{left[0][0]}.type={left[0][1]!r} is itself of dr2net_mm, so the whole '
            'model cannot do without it; export its backbone: --backbone-only'
        )
    notes += _replace_engine(content)
    content.update(load_from=None, resume=False)
    notes += _replace_imports(content)
    return PlainConfig(Config(content), notes)


def _replace_engine(content: ConfigDict) -> List[str]:
    """Take MMEngine's hooks and loops in place of ours; drop what it has not."""
    notes, classes = [], our_classes()
    hooks = content.get('custom_hooks') or []
    kept = []
    for hook in hooks:
        cls = classes.get(class_name(hook))
        if cls is None or _stand_in(cls) is not None:
            kept.append(hook)
        else:
            notes.append(f'custom_hooks: {class_name(hook)} was removed')
    if 'custom_hooks' in content:
        content.custom_hooks = kept
    engine = {
        key: content[key]
        for key in ('custom_hooks', 'default_hooks', 'train_cfg', 'val_cfg', 'test_cfg')
        if content.get(key)
    }
    for place, node in _ours_in(engine, ''):
        plain = _stand_in(classes[class_name(node)])
        if plain is not None:
            notes.append(f'{place}: {class_name(node)} became {plain.__name__}')
            node['type'] = plain.__name__
    return notes


def _replace_imports(content: ConfigDict) -> List[str]:
    """Import dr2net_mm no more, unless the data still needs it."""
    left = [
        f'{place}.type={class_name(node)!r}' for place, node in _ours_in(content, '')
    ]
    if left:
        return [
            'the weights do without dr2net_mm, the config not yet: it still has '
            + ', '.join(left)
        ]
    imports = content.get('custom_imports')
    if not imports:
        return []
    names = imports['imports']
    names = [names] if isinstance(names, str) else list(names)
    kept = [name for name in names if name.split('.')[0] != _PACKAGE]
    if kept:
        imports['imports'] = kept
    else:
        content.pop('custom_imports')
    return ['custom_imports: dr2net_mm is no longer imported']


def _typed_nodes(node: Any, place: str) -> Iterator[Tuple[str, Any]]:
    """Yield dictionaries with a ``type``, outermost first, and their places."""
    if isinstance(node, dict):
        if 'type' in node:
            yield place, node
        prefix = f'{place}.' if place and not place.endswith('.') else place
        for key, value in list(node.items()):
            yield from _typed_nodes(value, f'{prefix}{key}')
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _typed_nodes(value, f'{place}[{index}]')


def _ours_in(node: Any, place: str) -> Iterator[Tuple[str, Any]]:
    classes = our_classes()
    for where, found in list(_typed_nodes(node, place)):
        if class_name(found) in classes:
            yield where.rstrip('.'), found


def _is_ours(cls: type) -> bool:
    return cls.__module__.split('.')[0] == _PACKAGE


def _stand_in(cls: type) -> Optional[type]:
    """Return MMEngine's hook or loop that one of ours extends, if it fits."""
    base = next(base for base in cls.__mro__ if not _is_ours(base))
    known = registry.HOOKS.module_dict, registry.LOOPS.module_dict
    named = any(entries.get(base.__name__) is base for entries in known)
    return base if named and base is not Hook else None
