"""Ways to distribute training that a dual-residual backbone does not work with."""

from typing import Any, Iterator

from mmengine.config import Config

from .errors import UserError

_REMEDY = (
    'leave model_wrapper_cfg and strategy out (MMDistributedDataParallel), with '
    "optimizer=dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', ...) "
    'to share out the optimizer state'
)


def _dual_residual_backbones(node: Any) -> Iterator[dict]:
    """Configs of the dual-residual backbones below a node of a config."""
    if isinstance(node, dict):
        if str(node.get('type', '')).split('.')[-1].startswith('Dr2'):
            yield node
        for value in node.values():
            yield from _dual_residual_backbones(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _dual_residual_backbones(value)


def _kind(node: Any) -> str:
    """Class that a config names, without its scope."""
    return str((node or {}).get('type', '')).split('.')[-1]


def check_parallel(cfg: Config) -> None:
    """Raise :class:`UserError` for a wrapper or strategy that would not work.

    What shows only when the model is wrapped, such as which modules an FSDP policy
    chooses, is checked by the backbone in its first forward pass.
    """
    backbones = list(_dual_residual_backbones(cfg.get('model')))
    if not backbones:
        return
    strategy = cfg.get('strategy') or {}
    wrappers = [cfg.get('model_wrapper_cfg'), strategy.get('model_wrapper')]
    name = backbones[0]['type']
    for wrapper in wrappers:
        if _kind(wrapper) in ('DataParallel', 'MMDataParallel'):
            raise UserError(
                f'model_wrapper_cfg.type={wrapper["type"]!r} does not work with '
                f'{name}: its replicas have no parameters; use tools/dist_train.sh '
                f'and {_REMEDY}'
            )
        if wrapper and wrapper.get('use_orig_params') is False:
            raise UserError(
                f'use_orig_params=False of {_kind(wrapper)} hides the parameters from '
                f'{name}; set use_orig_params=True'
            )
    if _kind(strategy) == 'ColossalAIStrategy':
        raise UserError(
            f'strategy.type={strategy["type"]!r} does not work with {name}: it moves '
            f'parameters while the backbone needs them; {_REMEDY}'
        )
    engine_config = strategy.get('config')
    engine_config = engine_config if isinstance(engine_config, dict) else {}
    zero = strategy.get('zero_optimization') or engine_config.get('zero_optimization')
    reversible = any(
        (backbone.get('dual_residual') or {}).get('backprop') != 'stored'
        for backbone in backbones
    )
    if _kind(strategy) == 'DeepSpeedStrategy' and (zero or {}).get('stage') == 3:
        if reversible:
            raise UserError(
                f'zero_optimization.stage=3 does not work with {name}, whose backward '
                'pass needs whole parameters; use stage 1 or 2, or '
                f"{name}(dual_residual=dict(backprop='stored'))"
            )
