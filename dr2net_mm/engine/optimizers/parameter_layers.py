"""In which layer of its backbone a parameter is, for layer-wise learning rates."""

import fnmatch
import re
from typing import Callable, Dict, Iterable, List, Optional, Set, Tuple

from torch import nn

#: Classes whose layers are known: those of mmdet and mmaction2 that ours extend, and
#: the published reversible networks.
NUMBERED_CLASSES = (
    'SwinTransformer',
    'SwinTransformer3D',
    'VisionTransformer',
    'MViT',
    'RevVisionTransformer',
    'RevMViT',
)

_BLOCK_OF_STAGE = re.compile(r'(?:stages|layers)\.(\d+)\.blocks\.(\d+)\.')
_DOWNSAMPLE = re.compile(r'(?:stages|layers)\.(\d+)\.downsample\.')
_BLOCK = re.compile(r'(?:blocks|layers)\.(\d+)\.')
_EMBEDDING = ('patch_embed.', 'absolute_pos_embed', 'pos_embed', 'cls_token')

#: A name that no matcher of timm knows, as those of heads.
_UNMATCHED = 'head_behind_the_backbone.weight'


def parameter_layers(
    backbone: nn.Module, alone: bool = False
) -> Tuple[Dict[str, int], int]:
    """Return the layer of each parameter, and that of what follows the backbone.

    - A timm model, or a backbone with ``timm_model``: timm's own groups, from the
      model's ``group_matcher``. With heads the groups are those of a model with a
      classifier.
    - Swin of mmdet and of mmaction2 and ours, as mmpretrain and SimMIM number them:
      0 for the embedding, the number of the block from 1 on, a patch merging with the
      last block of its stage, one more for norms and for what follows. (The position
      embedding, which they leave with the norms, counts as embedding.)
    - VideoMAE's ViT and the MViT of mmaction2 and ours, Rev-ViT and Rev-MViT: the
      same, with one stage.

    Args:
        backbone: The backbone.
        alone: Whether nothing follows it. timm's groups then end with the last block.

    Returns:
        Layers by parameter name, 0 for the embedding, and the number of the last
        layer, to which parameters behind the backbone belong.

    Raises:
        TypeError: If the class of the backbone is not known.
    """
    names = [name for name, _ in backbone.named_parameters()]
    matcher = _timm_matcher(backbone)
    if matcher is not None:
        layers = _timm_layers(names, matcher, alone)
        return layers, max(layers.values())
    classes = {one.__name__ for one in type(backbone).__mro__}
    if not classes & set(NUMBERED_CLASSES):
        raise TypeError(
            f'the layers of {type(backbone).__name__} are not known, so its learning '
            'rates cannot decay by layer; accepted: timm models, Dr2TimmBackbone and '
            f'subclasses of {", ".join(NUMBERED_CLASSES)}.'
        )
    return _numbered(names)


def _timm_matcher(backbone: nn.Module) -> Optional[Callable]:
    model = getattr(backbone, 'timm_model', backbone)
    return getattr(model, 'group_matcher', None)


def _timm_layers(names: List[str], matcher: Callable, alone: bool) -> Dict[str, int]:
    from timm.models._manipulate import group_with_matcher

    objects = [(name, None) for name in (*names, *([] if alone else [_UNMATCHED]))]
    layers = group_with_matcher(iter(objects), matcher(coarse=False), reverse=True)
    if not alone:
        layers['(behind)'] = layers.pop(_UNMATCHED)
    return layers


def _numbered(names: Iterable[str]) -> Tuple[Dict[str, int], int]:
    """Count the layers of Swin and ViT as mmpretrain does."""
    names = list(names)
    depths: Dict[int, int] = {}
    for name in names:
        stage, block = _place(name)
        if block is not None:
            depths[stage] = max(depths.get(stage, 0), block + 1)
    first = {s: sum(depths[t] for t in depths if t < s) for s in depths}
    last = sum(depths.values()) + 1
    layers = {}
    for name in names:
        stage, block = _place(name)
        if block is not None:
            layers[name] = first[stage] + block + 1
        elif stage >= 0:
            # A stage without blocks has a patch merging all the same.
            layers[name] = sum(depths[t] for t in depths if t <= stage)
        else:
            layers[name] = 0 if name.startswith(_EMBEDDING) else last
    return layers, last


def _place(name: str) -> Tuple[int, Optional[int]]:
    """Return the stage and block of a parameter; a patch merging has a stage only.

    The stage is negative where the parameter belongs to none.
    """
    found = _BLOCK_OF_STAGE.match(name)
    if found:
        return int(found.group(1)), int(found.group(2))
    found = _DOWNSAMPLE.match(name)
    if found:
        return int(found.group(1)), None
    found = _BLOCK.match(name)
    return (0, int(found.group(1))) if found else (-1, None)


def undecayed_names(backbone: nn.Module) -> Set[str]:
    """Return names of parameters that conventionally have no weight decay.

    timm's models tell them by ``no_weight_decay``; of others these are position
    embeddings, class tokens and tables of relative position biases.
    """
    names = [name for name, _ in backbone.named_parameters()]
    model = getattr(backbone, 'timm_model', backbone)
    tell = getattr(model, 'no_weight_decay', None)
    if tell is not None:
        patterns = list(tell())
    else:
        patterns = ['*pos_embed*', '*cls_token', '*relative_position_bias_table']
        patterns += ['*.rel_pos_[hwt]']
    return {n for n in names if any(fnmatch.fnmatch(n, p) for p in patterns)}
