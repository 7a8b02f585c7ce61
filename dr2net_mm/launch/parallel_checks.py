"""Ways to distribute training that a dual-residual backbone does not work with."""

from typing import Any, Iterator

from mmengine.config import Config

from dr2net_mm.backbones.base.registered import class_name, registered_backbone
from dr2net_mm.errors import UserError

_REMEDY = (
    'leave model_wrapper_cfg and strategy out (MMDistributedDataParallel), with '
    "optimizer=dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', ...) "
    'to share out the optimizer state'
)


def _dual_residual_backbones(node: Any) -> Iterator[dict]:
    """Return the configs of the dual-residual backbones below a node of a config."""
    if isinstance(node, dict):
        if registered_backbone(class_name(node)):
            yield node
        for value in node.values():
            yield from _dual_residual_backbones(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _dual_residual_backbones(value)


def check_parallel(cfg: Config, resumes: bool = False) -> None:
    """Raise :class:`UserError` for a wrapper or strategy that would not work.

    What shows only when the model is wrapped, such as which modules an FSDP policy
    chooses, is checked by the backbone in its first forward pass.

    Args:
        cfg: Config of a training run.
        resumes: Whether the run is to go on from a checkpoint.
    """
    strategy = cfg.get('strategy') or {}
    _check_checkpoints(strategy, resumes)
    backbones = list(_dual_residual_backbones(cfg.get('model')))
    if not backbones:
        return
    name = backbones[0]['type']
    for wrapper in (cfg.get('model_wrapper_cfg'), strategy.get('model_wrapper')):
        if wrapper and class_name(wrapper) in ('DataParallel', 'MMDataParallel'):
            raise UserError(
                f'model_wrapper_cfg.type={wrapper["type"]!r} does not work with '
                f'{name}: its replicas have no parameters; use tools/dist_train.sh '
                f'and {_REMEDY}'
            )
        if wrapper and wrapper.get('use_orig_params') is False:
            raise UserError(
                f'use_orig_params=False of {class_name(wrapper)} hides the parameters '
                f'from {name}; set use_orig_params=True'
            )
    if class_name(strategy) == 'ColossalAIStrategy':
        raise UserError(
            f'strategy.type={strategy["type"]!r} does not work with {name}: it moves '
            f'parameters while the backbone needs them; {_REMEDY}'
        )
    reversible = any(
        (backbone.get('dual_residual') or {}).get('backprop') != 'stored'
        for backbone in backbones
    )
    if reversible and _zero_stage(strategy) == 3:
        raise UserError(
            f'zero_optimization.stage=3 does not work with {name}, whose backward pass '
            'needs whole parameters; use stage 1 or 2, or '
            f"{name}(dual_residual=dict(backprop='stored'))"
        )


def _zero_stage(strategy: dict) -> int:
    """Return the ZeRO stage of a DeepSpeed strategy; 0 for another one."""
    if class_name(strategy) != 'DeepSpeedStrategy':
        return 0
    zero, config = strategy.get('zero_optimization'), strategy.get('config')
    if not zero and isinstance(config, dict):
        zero = config.get('zero_optimization')
    return (zero or {}).get('stage', 0)


def _check_checkpoints(strategy: dict, resumes: bool) -> None:
    """Raise for a strategy whose checkpoints cannot be used as they would be."""
    kind = class_name(strategy)
    if kind not in ('FSDPStrategy', 'DeepSpeedStrategy'):
        return
    if resumes:
        raise UserError(
            f'--resume does not work with strategy.type={strategy["type"]!r}, whose '
            'optimizer state MMEngine up to 0.10.7 cannot load from one file with '
            f'torch 2.1 and later; for a run that can be resumed, {_REMEDY}'
        )
    if kind == 'FSDPStrategy' and strategy.get('state_dict_cfg', 'local') == 'local':
        raise UserError(
            "strategy.state_dict_cfg='local' of FSDPStrategy writes a slice of the "
            "weights for each rank, which nothing reads; set it to 'full'"
        )
