"""Parts of known models that can run in pieces, and presets of them."""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from torch import nn

from .cuts import Cut, Size, TokenCut, forward_name
from .deformable_encoder import ATTENTION, DeformableEncoderCut


class Part(NamedTuple):
    """A module that is to run in pieces.

    Attributes:
        name: Its name in the model; empty for the model itself.
        module: The module.
        cut: How it is cut.
        role: The preset that it belongs to.
        size: Tokens of a piece, or samples of a part that is cut along samples only;
            'auto' keeps the activations of a piece within the size of the input, and
            runs calls as usual that are too small to matter.
    """

    name: str
    module: nn.Module
    cut: Cut
    role: str = ''
    size: Size = 'auto'

    @property
    def label(self) -> str:
        """Its name for messages."""
        method = '' if self.cut.method == 'forward' else f'.{self.cut.method}'
        return (self.name or type(self.module).__name__) + method


_DECODER_LAYER = Cut(
    samples=(
        'query',
        'key',
        'value',
        'query_pos',
        'key_pos',
        'key_padding_mask',
        'self_attn_mask',
        'cross_attn_mask',
        'reference_points',
        'valid_ratios',
    ),
    shared=('spatial_shapes', 'level_start_index'),
)
_ENCODER_LAYER = Cut(samples=('query', 'query_pos', 'key_padding_mask'))
_LEVEL = Cut(samples=('x',), method='forward_single')
_MAPS = Cut(samples=('x',))

#: What is known of the code that a method runs: preset and cut. A class of another
#: package with a forward of its own is another key.
KNOWN: Dict[str, Tuple[str, Cut]] = {
    'mmdet.DetrTransformerEncoderLayer.forward': ('encoder', _ENCODER_LAYER),
    'mmdet.DetrTransformerDecoderLayer.forward': ('decoder', _DECODER_LAYER),
    'mmdet.Mask2FormerTransformerDecoderLayer.forward': ('decoder', _DECODER_LAYER),
    'mmdet.DeformableDETR.gen_encoder_output_proposals': (
        'proposals',
        Cut(
            samples=('memory', 'memory_mask'),
            shared=('spatial_shapes',),
            method='gen_encoder_output_proposals',
            modules=('memory_trans_fc', 'memory_trans_norm'),
        ),
    ),
    'mmdet.FPN.forward': ('neck', Cut(samples=('inputs',))),
    'mmdet.ChannelMapper.forward': ('neck', Cut(samples=('inputs',))),
    'mmdet.RetinaHead.forward_single': ('dense_head', _LEVEL),
    'mmdet.ATSSHead.forward_single': ('dense_head', _LEVEL),
    'mmdet.FCOSHead.forward_single': ('dense_head', _LEVEL),
    'mmdet.GFLHead.forward_single': ('dense_head', _LEVEL),
    'mmdet.RPNHead.forward_single': ('dense_head', _LEVEL),
    'mmdet.BBoxHead.forward': ('roi_head', _MAPS),
    'mmdet.ConvFCBBoxHead.forward': ('roi_head', _MAPS),
    'mmdet.FCNMaskHead.forward': ('roi_head', _MAPS),
    'dr2net_mm.GraphLevel.forward': ('vsgn', _MAPS),
    'dr2net_mm.PyramidDecoder.forward': ('vsgn', Cut(samples=('levels',))),
    'dr2net_mm.ProposalHead.forward': ('vsgn', Cut(samples=('levels',))),
    'dr2net_mm.BoundaryScores.forward': ('vsgn', Cut(samples=('finest',))),
    'dr2net_mm.BoundaryAdjustment.forward': (
        'vsgn',
        Cut(samples=('finest', 'proposals')),
    ),
    'dr2net_mm.TransformerBlock.forward': ('actionformer', _MAPS),
    'dr2net_mm.PointHead.forward': ('actionformer', Cut(samples=('levels',))),
}

#: Children of a known class that are parts by themselves: attribute, preset and cut.
#: Of a list each item is one.
CHILDREN: Dict[str, Tuple[Tuple[str, str, Cut], ...]] = {
    'mmdet.DeformableDETRHead': (
        ('cls_branches', 'proposals', TokenCut()),
        ('reg_branches', 'proposals', TokenCut()),
    ),
    'mmdet.MSDeformAttnPixelDecoder': (
        ('input_convs', 'pixel_decoder', _MAPS),
        ('lateral_convs', 'pixel_decoder', _MAPS),
        ('output_convs', 'pixel_decoder', _MAPS),
        ('mask_feature', 'pixel_decoder', _MAPS),
    ),
}

#: Presets by name, in the order of a forward pass.
PRESETS = (
    'neck',
    'pixel_decoder',
    'encoder',
    'proposals',
    'decoder',
    'dense_head',
    'roi_head',
    'vsgn',
    'actionformer',
)
AUTO = 'auto'


def preset_names(preset: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    """Return names of presets, one or several, as a tuple.

    Raises:
        ValueError: If one is unknown, or there is none.
    """
    names = tuple(preset) if isinstance(preset, (list, tuple)) else (preset,)
    unknown = [name for name in names if name not in (*PRESETS, AUTO)]
    if unknown or not names:
        raise ValueError(
            f'preset {unknown[0] if unknown else preset!r} is unknown; accepted: '
            f'{AUTO}, {", ".join(PRESETS)}, or several of them'
        )
    return names  # type: ignore[return-value]


def preset_parts(
    model: nn.Module, preset: Union[str, Sequence[str]] = AUTO
) -> List[Part]:
    """Return the parts of a model that a preset names, outermost first.

    Args:
        model: The model.
        preset: ``'auto'`` for all that are known, a name of :data:`PRESETS`, or
            several.

    Raises:
        ValueError: If a preset is unknown, or the model has no part of it.
    """
    wanted = preset_names(preset)
    found = known_parts(model)
    roles = sorted({part.role for part in found})
    for name in wanted:
        if name not in roles and (name != AUTO or not found):
            raise ValueError(
                f'preset {name!r} finds no part in {type(model).__name__} that can run '
                f'in pieces; it has {", ".join(roles) or "none that is known"}'
            )
    return [part for part in found if AUTO in wanted or part.role in wanted]


def known_cut(module: nn.Module) -> Optional[Cut]:
    """Return the cut of a module by the code of its forward, or None."""
    name = forward_name(module)
    if name in KNOWN:
        return _specific(module, KNOWN[name][1])
    return TokenCut() if TokenCut().refusal(module) is None else None


def _specific(module: nn.Module, cut: Cut) -> Cut:
    attention = getattr(module, 'self_attn', None)
    if cut is _ENCODER_LAYER and isinstance(attention, nn.Module):
        if forward_name(attention) == ATTENTION:
            return DeformableEncoderCut()
    return cut


def known_parts(model: nn.Module) -> List[Part]:
    """Return every known part that can be cut, none inside another."""
    methods = {name.rsplit('.', 1)[1] for name in KNOWN}
    found: List[Part] = []
    for name, module in model.named_modules():
        for method in methods:
            if not callable(getattr(type(module), method, None)):
                continue
            role, cut = KNOWN.get(forward_name(module, method), ('', None))
            if cut is not None:
                found.append(Part(name, module, _specific(module, cut), role))
        found += _children(name, module)
    usable = [part for part in found if part.cut.refusal(part.module) is None]
    return _outermost(usable)


def _children(name: str, module: nn.Module) -> List[Part]:
    found = []
    for base in type(module).__mro__:
        key = f'{base.__module__.split(".")[0]}.{base.__name__}'
        for attribute, role, cut in CHILDREN.get(key, ()):
            child = getattr(module, attribute, None)
            if child is None:
                continue
            path = f'{name}.{attribute}' if name else attribute
            several = isinstance(child, nn.ModuleList)
            items = child.named_children() if several else [('', child)]
            found += [
                Part(f'{path}.{key}' if key else path, item, cut, role)
                for key, item in items
            ]
    return found


def _outermost(parts: Sequence[Part]) -> List[Part]:
    """Return the parts that are not inside another one, each module and method once."""
    whole = {part.name for part in parts if not part.cut.modules}
    kept: Dict[Tuple[int, str], Part] = {}
    for part in parts:
        above = part.name.split('.')
        inside = any('.'.join(above[:i]) in whole for i in range(1, len(above)))
        if not inside:
            kept.setdefault((id(part.module), part.cut.method), part)
    return list(kept.values())
