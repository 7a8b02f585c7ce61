"""Checkpoints of MTTR's authors, renamed for our MTTR, and back; its Kinetics start."""

import re
from typing import Dict, List, Mapping, Tuple

from torch import Tensor

from dr2net_mm.errors import UserError

from .conversion import Conversion, Weights, check_layout, drop, require, strip_prefix
from .mttr_layout import NETWORK, mttr_shapes, video_swin_shapes

_COEFFICIENTS = ('backbone.dual_residual.alpha', 'backbone.dual_residual.beta')
#: A buffer that releases of transformers from 4.31 on do not keep.
_POSITION_IDS = 'transformer.text_encoder.embeddings.position_ids'

#: MTTR's names and ours.
_NAMES = (
    ('backbone.downsamples.{n}.', 'backbone.layers.{n}.downsample.'),
    ('{layer}.self_attn.', '{layer}.self_attn.attn.'),
    ('{layer}.multihead_attn.', '{layer}.cross_attn.attn.'),
    ('{layer}.linear1.', '{layer}.ffn.layers.0.0.'),
    ('{layer}.linear2.', '{layer}.ffn.layers.1.'),
    ('{layer}.norm1.', '{layer}.norms.0.'),
    ('{layer}.norm2.', '{layer}.norms.1.'),
    ('{layer}.norm3.', '{layer}.norms.2.'),
    ('transformer.decoder.norm.', 'transformer.decoder.post_norm.'),
    ('transformer.text_encoder.', 'text_encoder.model.'),
    ('transformer.txt_proj.fc.', 'text_projection.0.'),
    ('transformer.txt_proj.layer_norm.', 'text_projection.1.'),
    ('is_referred_head.', 'referred_head.'),
    ('instance_kernels_head.layers.0.', 'kernel_head.0.'),
    ('instance_kernels_head.layers.1.', 'kernel_head.2.'),
    ('obj_queries.', 'queries.'),
    ('vid_embed_proj.', 'visual_projection.'),
    ('spatial_decoder.lay1.', 'mask_features.layers.0.conv.'),
    ('spatial_decoder.lay2.', 'mask_features.layers.1.conv.'),
    ('spatial_decoder.lay3.', 'mask_features.layers.2.conv.'),
    ('spatial_decoder.lay4.', 'mask_features.layers.3.conv.'),
    ('spatial_decoder.gn1.', 'mask_features.layers.0.gn.'),
    ('spatial_decoder.gn2.', 'mask_features.layers.1.gn.'),
    ('spatial_decoder.gn3.', 'mask_features.layers.2.gn.'),
    ('spatial_decoder.gn4.', 'mask_features.layers.3.gn.'),
    ('spatial_decoder.adapter1.', 'mask_features.laterals.0.'),
    ('spatial_decoder.adapter2.', 'mask_features.laterals.1.'),
    ('spatial_decoder.out_lay.', 'mask_features.output.'),
)
#: What stands in a pair for a part that both names have.
_PLACES = {'n': r'\d+', 'layer': r'transformer\.(?:en|de)coder\.layers\.\d+'}


def mttr_to_mm(weights: Mapping[str, Tensor]) -> Conversion:
    """Rename a checkpoint of MTTR's authors.

    Args:
        weights: Tensors by their names, ``model_state_dict`` of a released file.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape.

    Source: mttr2021/MTTR, ``models/``.
    """
    notes: List[str] = []
    found = strip_prefix(dict(weights), 'module.')
    why = 'computed by transformers'
    found = drop(found, (_POSITION_IDS,), why, notes)
    renamed = _renamed(found, forward=True)
    check_layout(renamed, mttr_shapes(renamed), NETWORK, 'dr2net_mm')
    return Conversion(renamed, {}, notes)


def mm_to_mttr(weights: Mapping[str, Tensor]) -> Conversion:
    """Give a model of ours the names of MTTR's authors.

    Args:
        weights: Tensors by our names.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape, or the backbone
            is not at (α, β) = (1, 0), where alone it is a plain Video Swin.
    """
    found = strip_prefix(dict(weights), 'module.')
    values = tuple(float(found.pop(name)) for name in _COEFFICIENTS if name in found)
    if values and values != (1.0, 0.0):
        raise UserError(
            f'the checkpoint was trained to (alpha, beta) = {values}; MTTR computes '
            '(1, 0) alone: finish the schedule there, with Dr2CoefficientHook(end='
            '(1.0, 0.0), monotone=False)'
        )
    check_layout(found, mttr_shapes(found), NETWORK, 'dr2net_mm')
    return Conversion(_renamed(found, forward=False), {}, [])


def video_swin_to_mttr(weights: Mapping[str, Tensor], stages: int = 3) -> Conversion:
    """Prepare a Video Swin of mmaction, trained on Kinetics, as MTTR's backbone.

    The patch kernel is summed over time, [C, 3, 2, 4, 4] to [C, 3, 1, 4, 4], which
    gives the same patches of a video that stands still. Later stages, output norms and
    the classifier are dropped.

    Args:
        weights: Tensors of a recognizer or of a backbone.
        stages: Stages that are kept.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape.
    """
    notes: List[str] = []
    found = strip_prefix(dict(weights), 'module.')
    found = drop(found, ('cls_head.',), 'the classifier', notes)
    found = strip_prefix(found, 'backbone.')
    later = [name for name in found if _is_later(name, stages)]
    found = drop(found, tuple(later), f'only {stages} stages are used', notes)
    norms = tuple(f'norm{stage}.' for stage in range(10))
    found = drop(found, norms, 'maps are taken without norms', notes)
    patches = require(found, 'patch_embed.proj.weight', 5)
    if patches.shape[2] > 1:
        notes.append(f'summed the patch kernel over {patches.shape[2]} frames')
    found['patch_embed.proj.weight'] = patches.sum(dim=2, keepdim=True)
    check_layout(found, video_swin_shapes(found), 'a Video Swin', 'mmaction')
    backbone = {f'backbone.{name}': value for name, value in found.items()}
    return Conversion(backbone, {}, notes)


def _is_later(name: str, stages: int) -> bool:
    match = re.match(r'layers\.(\d+)\.(downsample\.)?', name)
    if match is None:
        return False
    number, merging = int(match.group(1)), match.group(2)
    return number >= stages or (merging is not None and number == stages - 1)


def _rules(forward: bool) -> List[Tuple[re.Pattern, str]]:
    rules = []
    for pair in _NAMES:
        source, target = pair if forward else pair[::-1]
        pattern = re.escape(source)
        for place, expression in _PLACES.items():
            braces = '{' + place + '}'
            pattern = pattern.replace(re.escape(braces), f'({expression})')
            target = target.replace(braces, r'\g<1>')
        rules.append((re.compile(f'^{pattern}'), target))
    return rules


def _renamed(weights: Weights, forward: bool) -> Weights:
    """Give weights their other names; those without one keep theirs."""
    rules = _rules(forward)
    renamed: Dict[str, Tensor] = {}
    for name, value in weights.items():
        for pattern, target in rules:
            if pattern.match(name):
                name = pattern.sub(target, name)
                break
        renamed[name] = value
    return renamed
