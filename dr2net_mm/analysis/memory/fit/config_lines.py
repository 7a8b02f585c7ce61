"""A setting as lines of a config."""

from typing import Any, Dict, List

from mmengine.config import Config

from dr2net_mm.analysis.subjects.backbones import reversible_backbone
from dr2net_mm.analysis.subjects.detectors import AS_IT_IS, ENCODER

from .training_memory import Setting

HOOK = 'ActivationCheckpointHook'
AUTOCAST = {'bf16': 'bfloat16', 'fp16': 'float16'}


def config_lines(path: str, config: Config, setting: Setting) -> List[str]:
    """Return the config that trains another one in a setting.

    Args:
        path: The other config, as it stands in ``_base_``.
        config: The same, read.
        setting: The setting.
    """
    given = config.model.backbone.type
    lines = [f'_base_ = {path!r}']
    hooks = [dict(hook) for hook in config.get('custom_hooks') or []]
    hooks = [hook for hook in hooks if hook.get('type') != HOOK]
    backbone: Dict[str, Any] = {}
    if setting.backbone == 'dr2':
        ours = reversible_backbone(config.model.backbone.to_dict())['type']
        if ours != given:
            backbone.update(type=ours, with_cp=False)
            hooks.append(dict(type='Dr2CoefficientHook', end=(0.3, 0.7), end_epoch=10))
        options = config.model.backbone.get('dual_residual') or {}
        if setting.memory_budget != options.get('memory_budget'):
            backbone['dual_residual'] = dict(memory_budget=setting.memory_budget)
    elif bool(config.model.backbone.get('with_cp')) != (
        setting.backbone == 'checkpoint'
    ):
        backbone['with_cp'] = setting.backbone == 'checkpoint'
    if setting.rest != AS_IT_IS:
        wanted: Dict[str, Any] = dict(preset='auto')
        if setting.rest == ENCODER:
            wanted = dict(modules=['encoder.layers'])
        hooks.append(dict(type=HOOK, **wanted))
    imports = list((config.get('custom_imports') or {}).get('imports', []))
    ours_needed = setting.backbone == 'dr2' or setting.rest != AS_IT_IS
    if ours_needed and 'dr2net_mm' not in imports:
        imports.append('dr2net_mm')
        lines.append(
            f'custom_imports = dict(imports={imports!r}, allow_failed_imports=False)'
        )
    if backbone:
        lines.append(f'model = dict(backbone={_dict(backbone)})')
    if hooks != [dict(hook) for hook in config.get('custom_hooks') or []]:
        lines.append('custom_hooks = [')
        lines += [f'    {_dict(hook)},' for hook in hooks]
        lines.append(']')
    return lines + _loop_lines(config, setting)


def _loop_lines(config: Config, setting: Setting) -> List[str]:
    """Return lines of the batch and of the optimizer."""
    lines = []
    if config.train_dataloader.batch_size != setting.batch:
        lines.append(f'train_dataloader = dict(batch_size={setting.batch})')
    wrapper: Dict[str, Any] = {}
    given = config.optim_wrapper
    if setting.precision != 'fp32' and given.get('type') != 'AmpOptimWrapper':
        wrapper.update(type='AmpOptimWrapper', dtype=AUTOCAST[setting.precision])
    if given.get('accumulative_counts', 1) != setting.accumulate:
        wrapper['accumulative_counts'] = setting.accumulate
    if wrapper:
        lines.append(f'optim_wrapper = {_dict(wrapper)}')
    return lines


def _dict(values: Dict[str, Any]) -> str:
    """Return a dictionary as OpenMMLab's configs write it."""
    words = [
        f'{key}={_dict(value) if isinstance(value, dict) else repr(value)}'
        for key, value in values.items()
    ]
    return f'dict({", ".join(words)})'
