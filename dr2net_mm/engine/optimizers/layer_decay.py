"""Layer-wise decay of the learning rate."""

from typing import Any, Dict, List, Optional, Tuple

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from .parameter_layers import parameter_layers, undecayed_names

#: Options of other constructors that count layers by hand.
_FOREIGN = ('num_layers', 'decay_rate', 'decay_type')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Learning rates that fall from the last layer of a model to its first.

    A parameter in layer l of L + 1, numbered from 0, learns with

        lr_l = lr · d^(L − l)

    The embedding is layer 0, and everything behind the backbone (neck, heads) layer L
    with the whole rate. How layers are numbered: :func:`.parameter_layers`.

    Parameters with one dimension (biases, norms) and those that the backbone names
    (position embeddings) have no weight decay, as in timm. ``flat_decay_mult`` and
    ``custom_keys`` say otherwise.

    Args:
        optim_wrapper_cfg: The optimizer wrapper with its optimizer.
        paramwise_cfg: ``layer_decay_rate``, d in (0, 1], and all keys of MMEngine's
            ``DefaultOptimWrapperConstructor``; their ``lr_mult`` multiplies the rate
            of the layer.

    Raises:
        ValueError: If ``layer_decay_rate`` is missing or out of range, there is no
            learning rate, or an option belongs to a constructor that counts layers by
            hand.
        TypeError: If the layers of the model's backbone are not known.

    Source: BEiT (ICLR 2022); ``param_groups_layer_decay`` of timm;
    ``LearningRateDecayOptimWrapperConstructor`` of mmpretrain.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None
    ) -> None:
        options = dict(paramwise_cfg or {})
        for name in _FOREIGN:
            if name in options:
                raise ValueError(
                    f'paramwise_cfg has {name}={options[name]!r}, which '
                    f'{type(self).__name__} does not take: layers are counted in the '
                    'model. Give layer_decay_rate alone.'
                )
        rate = options.pop('layer_decay_rate', None)
        if isinstance(rate, bool) or not isinstance(rate, (int, float)):
            rate = 0.0 if rate is None else rate
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(
                'paramwise_cfg needs a layer_decay_rate in (0, 1], such as 0.7, got '
                f'{(paramwise_cfg or {}).get("layer_decay_rate")!r}.'
            )
        # The key of 1-D parameters is read where no other rule matches.
        options.setdefault('flat_decay_mult', 0.0)
        super().__init__(optim_wrapper_cfg, options)
        if self.base_lr is None:
            raise ValueError(
                'optimizer has no lr; LayerDecayOptimWrapperConstructor scales it, so '
                'give one.'
            )
        self.layer_decay_rate = float(rate)
        self.base_lr: float

    def add_params(
        self,
        params: List[Dict[str, Any]],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: Optional[bool] = None,
    ) -> None:
        """Add the parameters of a module, a group for each layer and set of options.

        Args:
            params: Groups, changed in place.
            module: The model, or a module of it.
            prefix: Its name in the model.
            is_dcn_module: Whether it belongs to a deformable convolution.
        """
        if prefix:
            super().add_params(params, module, prefix, is_dcn_module)
            return
        single: List[Dict[str, Any]] = []
        super().add_params(single, module, prefix, is_dcn_module)
        layers, last, undecayed = _of_model(module)
        names = {id(p): name for name, p in module.named_parameters()}
        groups: Dict[Tuple, Dict[str, Any]] = {}
        for group in single:
            (parameter,) = group.pop('params')
            name = names[id(parameter)]
            layer = layers.get(name, last)
            custom = 'decay_mult' in group
            if name in undecayed and not custom and self.base_wd is not None:
                group['weight_decay'] = 0.0
            scale = self.layer_decay_rate ** (last - layer)
            group['lr'] = group.get('lr', self.base_lr) * scale
            group['lr_scale'] = scale
            key = (layer, repr(sorted(group.items(), key=lambda item: item[0])))
            groups.setdefault(key, {**group, 'params': []})
            groups[key]['params'].append(parameter)
        params.extend(groups[key] for key in sorted(groups))
        _log(groups)


def _of_model(model: nn.Module) -> Tuple[Dict[str, int], int, set]:
    """Return layers by full parameter name, the last layer, names without decay."""
    backbone = getattr(model, 'backbone', None)
    prefix, alone = 'backbone.', backbone is None
    if alone:
        backbone, prefix = model, ''
    layers, last = parameter_layers(backbone, alone)
    return (
        {prefix + name: layer for name, layer in layers.items()},
        last,
        {prefix + name for name in undecayed_names(backbone)},
    )


def _log(groups: Dict[Tuple, Dict[str, Any]]) -> None:
    """Log rate and size of each layer."""
    rates: Dict[int, List[str]] = {}
    for (layer, _), group in sorted(groups.items()):
        count = sum(p.numel() for p in group['params'])
        decay = group.get('weight_decay', 'own')
        rates.setdefault(layer, []).append(
            f'lr={group["lr"]:.3g} weight_decay={decay} parameters={count}'
        )
    for layer, found in rates.items():
        print_log(f'layer {layer}: ' + '; '.join(found), 'current')
