"""A dual-residual network at (alpha, beta) = (1, 0) as the plain network that it is.

There the second stream is zero, and the first is the residual stream of mmdet's and
mmaction's own classes: ``x_i = F_i(x_{i-1}) + x_{i-1}``.
"""

from collections import OrderedDict
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor

from dr2net_mm.checkpoints.checkpoint_file import plain_values
from dr2net_mm.checkpoints.coefficients import coefficients_of, is_coefficient
from dr2net_mm.errors import UserError
from dr2net_mm.version import __version__

from .networks import filled, largest_difference, weights_below
from .plain_config import dual_residual_configs, plain_backbone, plain_config

#: (alpha, beta) of a plain network.
PLAIN = (1.0, 0.0)

#: Most that outputs may differ by, as a share of their largest magnitude: the streams
#: of exact arithmetic are rounded to multiples of 2**-fraction_bits at every branch.
TOLERANCE = 1e-3


class PlainModel(NamedTuple):
    """An exported plain model.

    Attributes:
        checkpoint: ``meta`` and ``state_dict``.
        config: The config it fits, or that of the backbone alone.
        notes: What was done, a sentence each.
    """

    checkpoint: Dict[str, Any]
    config: Config
    notes: List[str]


def check_plain(coefficients: Mapping[str, Tuple[float, float]]) -> None:
    """Raise unless every backbone ended where it is a plain network.

    Raises:
        UserError: Naming the coefficients and the remedy.
    """
    if not coefficients:
        raise UserError(
            'the checkpoint holds no alpha and beta: it is of a plain network already, '
            'or of a run without a dual-residual backbone'
        )
    for name, pair in coefficients.items():
        if pair != PLAIN:
            raise UserError(
                f'{name} of the checkpoint ended at (alpha, beta) = {pair}, and only '
                f'at {PLAIN} is a dual-residual network a plain one. Train (on) with '
                f"dict(type='Dr2CoefficientHook', start={pair}, end=(1.0, 0.0), "
                'monotone=False, end_epoch=...) in custom_hooks, or export to ONNX, '
                'which takes any coefficients'
            )


def export_plain(
    cfg: Config, checkpoint: Mapping[str, Any], backbone_only: bool = False
) -> PlainModel:
    """Convert weights and config to those of the plain network.

    Args:
        cfg: Config of the run.
        checkpoint: Content of its checkpoint.
        backbone_only: Whether to export the backbone without the rest of the model.

    Raises:
        UserError: If the coefficients, the fusion, or other parts of the model do not
            allow it, or the config does not fit the checkpoint.
    """
    weights = checkpoint['state_dict']
    coefficients = coefficients_of(weights)
    check_plain(coefficients)
    backbones = dual_residual_configs(cfg.model)
    if set(backbones) != set(coefficients):
        raise UserError(
            f'the config has dual-residual backbones at {sorted(backbones)} of its '
            f'model, the checkpoint at {sorted(coefficients)}; give the config of the '
            'run'
        )
    notes = [f'largest difference of {name}: {d}' for name, d in _compare(cfg, weights)]
    meta = {
        key: value
        for key, value in (checkpoint.get('meta') or {}).items()
        if key in ('epoch', 'iter', 'dataset_meta', 'seed')
    }
    meta['exported_by'] = f'{__package__.split(".")[0]} {__version__}'
    if backbone_only:
        if len(backbones) > 1:
            raise UserError(
                f'the model has several backbones, {sorted(backbones)}, and '
                '--backbone-only is for one that has a single one'
            )
        ((place, node),) = backbones.items()
        plain = plain_backbone(node, cfg.get('default_scope'))
        config = Config(ConfigDict(model=ConfigDict({place: plain})))
        exported = _plain_weights(weights_below(weights, f'{place}.'))
    else:
        config, edits = plain_config(cfg)
        notes += edits
        meta['cfg'] = config.pretty_text
        exported = _plain_weights(weights)
    return PlainModel(dict(meta=plain_values(meta), state_dict=exported), config, notes)


def _compare(cfg: Config, weights: Mapping[str, Tensor]) -> List[Tuple[str, str]]:
    """Run each backbone and its plain counterpart on the same input.

    Raises:
        UserError: If weights do not fit, or the outputs differ.
    """
    differences = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for place, node in dual_residual_configs(cfg.model).items():
            ours = weights_below(weights, f'{place}.')
            dual = filled(node, ours, place)
            plain_node = plain_backbone(node, cfg.get('default_scope'))
            plain = filled(plain_node, _plain_weights(ours), place)
            image = dual.example_input()
            with torch.no_grad():
                difference = largest_difference(plain(image), dual(image))
            if not difference <= TOLERANCE:
                raise UserError(
                    f'{place}: outputs of the plain network differ by {difference:.2g} '
                    f'of their largest magnitude, more than {TOLERANCE}; nothing was '
                    'written'
                )
            shown = f'{difference:.1e} of the largest output (allowed: {TOLERANCE})'
            differences.append((place, shown))
    return differences


def _plain_weights(weights: Mapping[str, Tensor]) -> 'OrderedDict[str, Tensor]':
    """Drop the coefficients from weights; keep the versions of modules."""
    kept = OrderedDict(
        (name, value) for name, value in weights.items() if not is_coefficient(name)
    )
    versions = getattr(weights, '_metadata', None)
    if versions is not None:
        kept._metadata = OrderedDict(  # type: ignore[attr-defined]
            (name, value)
            for name, value in versions.items()
            if name.split('.')[-1] != 'dual_residual'
        )
    return kept
