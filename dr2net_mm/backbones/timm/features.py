"""A timm model as a backbone of feature maps, under timm's own names."""

from typing import Any, List, Optional, Sequence, Tuple, Union

from mmengine.model import BaseModule
from torch import Tensor, nn

from .model import (
    OutIndices,
    batch_norms,
    build_model,
    family_of,
    feature_info,
    prune,
    taken_indices,
)
from .weights import load_weights


class TimmFeatures(BaseModule):
    """Base of backbones that are a timm model without its head.

    Modules and parameters are the model's own and have its names, so that timm's
    checkpoints, layer-wise rates and exports fit. What the features do not use is
    removed (the head, blocks behind the last feature map) or frozen (the last norm).

    Args:
        model_name: timm's name, e.g. ``'vit_small_patch14_dinov2'``.
        out_indices: Which feature maps, as timm counts them: blocks of models of one
            width, stages of others, from the end where negative; a number for the last
            ones, None for that of the last block, or of every stage.
        pretrained: Weights to begin with: True for timm's own, from the network; a
            file (pth, safetensors) or an address of a checkpoint.
        frozen_stages: Number of blocks or stages to freeze, with the embedding; 0
            freezes the embedding alone, -1 nothing.
        output_norm: Whether the model's last norm is applied to the features, to each
            of blocks or to the last of stages, as timm does with ``norm=True``.
        norm_eval: Whether BatchNorm layers stay in evaluation mode.
        single_output: Whether the only feature map is returned as a tensor, which
            mmaction's ``Recognizer2D`` with a ``TSNHead`` takes, in place of a tuple.
        inflate_input: Whether weights of the first layer for another number of input
            channels are adapted to ``in_chans``.
        init_cfg: MMEngine's; a ``Pretrained`` checkpoint is loaded as ``pretrained``
            is, when ``init_weights`` is called.
        model_args: Other arguments of timm's model, e.g. ``img_size``,
            ``dynamic_img_size``, ``drop_path_rate``.

    Raises:
        TypeError: If the model has no argument of a name.
        ValueError: If there is no such model, its forward pass is not known, an
            argument is out of range, or weights are of another model.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: OutIndices = None,
        pretrained: Union[None, bool, str] = None,
        frozen_stages: int = -1,
        output_norm: bool = False,
        norm_eval: bool = False,
        single_output: bool = False,
        inflate_input: bool = False,
        init_cfg: Optional[dict] = None,
        **model_args: Any,
    ) -> None:
        super().__init__(init_cfg)
        self._is_init = False
        if model_args.get('patch_drop_rate'):
            raise ValueError(
                f'patch_drop_rate={model_args["patch_drop_rate"]} would leave holes in '
                'the feature maps; leave it out.'
            )
        model = build_model(model_name, pretrained is True, model_args)
        family = family_of(model_name, model, output_norm, model_args.get('img_size'))
        self.model_name = model_name
        self.inflate_input = inflate_input
        self.family = family
        self._known = set(model.state_dict())
        count = family.feature_count()
        if out_indices is None:
            out_indices = family.default_indices()
        self.out_indices = taken_indices(model_name, count, out_indices)
        self.out_channels: List[int] = feature_info(model, 'num_chs', self.out_indices)
        self.out_strides: List[int] = feature_info(model, 'reduction', self.out_indices)
        prune(model, self.out_indices)
        self._adopt(model)
        self.output_norm = output_norm
        self.norm_eval = norm_eval
        self.single_output = single_output
        if single_output and len(self.out_indices) > 1:
            raise ValueError(
                f'single_output=True with {len(self.out_indices)} feature maps of '
                f'{model_name}; give out_indices one number, such as [-1].'
            )
        self.frozen_stages = frozen_stages
        self._check_frozen(len(family.stages()))
        if isinstance(pretrained, str):
            self.load_pretrained(pretrained)
        self._freeze()

    def _adopt(self, model: nn.Module) -> None:
        """Make the model's modules and parameters those of this module."""
        for name in (
            '_modules',
            '_parameters',
            '_buffers',
            '_non_persistent_buffers_set',
        ):
            # The same dictionaries: methods of the model see what becomes of them.
            self.__dict__[name] = model.__dict__[name]

    @property
    def timm_model(self) -> nn.Module:
        """The timm model, which shares all modules and parameters; for its methods."""
        return self.family.model

    def load_pretrained(self, source: str) -> None:
        """Load a checkpoint of timm's, see :func:`.weights.load_weights`."""
        load_weights(self, self.timm_model, source, self._known, self.inflate_input)

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names; otherwise weights stay as timm made them."""
        # Not the base class's way: it would call init_weights of timm's modules,
        # which undo what pretrained has loaded.
        cfg = self.init_cfg
        if cfg is not None and not self._is_init:
            if not isinstance(cfg, dict) or cfg.get('type') != 'Pretrained':
                raise ValueError(
                    f"{type(self).__name__} takes init_cfg=dict(type='Pretrained', "
                    f'checkpoint=...) or None, got {cfg!r}.'
                )
            self.load_pretrained(cfg['checkpoint'])
        self._is_init = True

    def train(self, mode: bool = True) -> 'TimmFeatures':
        """Set the mode; frozen modules, and BatchNorm if asked, stay in evaluation."""
        super().train(mode)
        # Methods of the model read its own flag.
        self.timm_model.training = mode
        for module in self._frozen_modules():
            module.eval()
        if self.norm_eval:
            for name in batch_norms(self):
                self.get_submodule(name).eval()
        return self

    def check_input(self, x: Tensor) -> None:
        """Check a batch of images.

        Raises:
            ValueError: If its shape is none that the model takes.
        """
        channels = getattr(self.timm_model, 'in_chans', 3)
        if x.dim() != 4 or x.shape[1] != channels:
            raise ValueError(
                f'{type(self).__name__} takes images [B, {channels}, H, W], got shape '
                f'{tuple(x.shape)}.'
            )
        self.family.check_size((x.shape[2], x.shape[3]))

    def _returned(
        self, features: Sequence[Tensor]
    ) -> Union[Tensor, Tuple[Tensor, ...]]:
        return features[0] if self.single_output else tuple(features)

    def _check_frozen(self, count: int) -> None:
        if not -1 <= self.frozen_stages <= count:
            raise ValueError(
                f'frozen_stages is {self.frozen_stages}; {self.model_name} has {count} '
                f'of them, so give -1 (nothing frozen) to {count}.'
            )

    def _freeze(self) -> None:
        for module in self.family.output_norms():
            if not self.output_norm:
                # Kept for its name in checkpoints; it gets no gradient.
                module.requires_grad_(False)
        for parameter in self._frozen_parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def _trained_part(self) -> List[nn.Module]:
        """Modules that are not frozen."""
        stages = self.family.stages()[max(self.frozen_stages, 0) :]
        norms = self.family.output_norms()
        return [module for stage in stages for module in stage] + norms

    def _frozen_parameters(self) -> List[nn.Parameter]:
        if self.frozen_stages < 0:
            return []
        trained = {
            id(p) for module in self._trained_part() for p in module.parameters()
        }
        return [p for p in self.parameters() if id(p) not in trained]

    def _frozen_modules(self) -> Sequence[nn.Module]:
        """Outermost modules without a part that trains."""
        if self.frozen_stages < 0:
            return []
        trained = {id(one) for part in self._trained_part() for one in part.modules()}
        found, visited = [], [self]
        while visited:
            for child in visited.pop().children():
                inside = [id(one) in trained for one in child.modules()]
                if not any(inside):
                    found.append(child)
                elif id(child) not in trained:
                    visited.append(child)
        return found
