"""Effect of a changed config on a resumed run, and what MMEngine ignores of it."""

import ast
from typing import Any, Dict, List, Mapping, NamedTuple

# What the checkpoint's optimizer and schedulers bring with them.
_RESTORED = (
    'optim_wrapper.optimizer',
    'optim_wrapper.paramwise_cfg',
    'param_scheduler',
)

# The parts of a config that decide how the weights move.
_TRAINING = (
    'optim_wrapper', 'param_scheduler', 'train_cfg', 'custom_hooks', 'auto_scale_lr',
    'train_dataloader',
)  # fmt: skip


class Changes(NamedTuple):
    """Keys of a config that differ from those of a checkpoint.

    Attributes:
        ignored: Those whose values the checkpoint overrides.
        effective: Those that the resumed run follows.
    """

    ignored: List[str]
    effective: List[str]


def changed_keys(before: str, now: Mapping[str, Any]) -> Changes:
    """Compare the config in a checkpoint with that of the run that goes on.

    Args:
        before: Text of the config, as MMEngine writes it; it is read, not executed.
        now: The config of this run.
    """
    ignored: List[str] = []
    effective: List[str] = []
    old = read_config_text(before)
    for part in _TRAINING:
        if part not in old and part not in now:
            continue
        was, is_now = _flat(part, old.get(part)), _flat(part, now.get(part))
        for key in sorted({*was, *is_now}):
            if was.get(key) != is_now.get(key):
                change = f'{key} ({was.get(key)!r} before, {is_now.get(key)!r} now)'
                restored = key.startswith(_RESTORED)
                (ignored if restored else effective).append(change)
    return Changes(ignored, effective)


def describe_changes(changes: Changes) -> str:
    """Describe the changes for the user; empty if nothing has changed."""
    parts = []
    if changes.ignored:
        parts.append(
            'without effect, since optimizer and schedules go on as the checkpoint has '
            f'them: {"; ".join(changes.ignored)}. To train with them, start a new run '
            'with load_from'
        )
    if changes.effective:
        parts.append(f'in effect: {"; ".join(changes.effective)}')
    if not parts:
        return ''
    return f'the config differs from that of the checkpoint: {". ".join(parts)}'


def read_config_text(text: str) -> Dict[str, Any]:
    """Read the plain values of a config text; leave others out.

    A checkpoint may come from anybody, so nothing of it is executed.
    """
    found = {}
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                try:
                    found[target.id] = _value(statement.value)
                except ValueError:
                    continue
    return found


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', None) == 'dict':
        if not node.args and all(keyword.arg for keyword in node.keywords):
            return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(node.keys):
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values) if k}
    return ast.literal_eval(node)


def _flat(path: str, value: Any) -> Dict[str, Any]:
    if isinstance(value, Mapping):
        found: Dict[str, Any] = {}
        for key, item in value.items():
            found.update(_flat(f'{path}.{key}', item))
        return found
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, Mapping) for item in value):
            found = {}
            for index, item in enumerate(value):
                found.update(_flat(f'{path}[{index}]', item))
            return found
        return {path: list(value)}
    return {} if value is None else {path: value}
