"""Rev-ViT and Rev-MViT checkpoints of SlowFast, renamed for our backbones, and back.

Our Rev-ViT has the names of mmpretrain's ``RevVisionTransformer``, so that this is the
way between SlowFast and mmpretrain too.
"""

import re
from typing import Any, Dict, List, Mapping, Tuple

import torch
from torch import Tensor

from dr2net_mm.errors import UserError

from .conversion import (
    Conversion,
    Weights,
    as_recognizer,
    check_layout,
    require,
    strip_prefix,
)
from .rev_layout import layout_of

_NETWORK = 'Rev-ViT or Rev-MViT'
_PATCH = 'patch_embed.projection.weight'
_COEFFICIENTS = ('dual_residual.alpha', 'dual_residual.beta')

#: SlowFast's names and ours, in the order in which they are tried.
_VIT_NAMES = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('rev_backbone.layers.*.F.norm.', 'layers.*.ln1.'),
    ('rev_backbone.layers.*.F.attn.', 'layers.*.attn.'),
    ('rev_backbone.layers.*.G.norm.', 'layers.*.ln2.'),
    ('rev_backbone.layers.*.G.mlp.fc1.', 'layers.*.ffn.layers.0.0.'),
    ('rev_backbone.layers.*.G.mlp.fc2.', 'layers.*.ffn.layers.1.'),
    ('norm.', 'ln1.'),
)
_MVIT_NAMES = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('rev_backbone.layers.*.F.norm.', 'blocks.*.norm1.'),
    ('rev_backbone.layers.*.F.attn.', 'blocks.*.attn.'),
    ('rev_backbone.layers.*.G.norm.', 'blocks.*.norm2.'),
    ('rev_backbone.layers.*.G.mlp.', 'blocks.*.mlp.'),
    ('rev_backbone.layers.*.pre_q_fuse.fuse_fn.', 'blocks.*.fuse.'),
    ('rev_backbone.layers.*.res_proj.', 'blocks.*.res_proj.'),
    # The number of the last scale is filled in.
    ('norm.', 'norm{scale}.'),
)
_SLOWFAST_HEAD = 'head.projection.'
#: Classifiers: of mmpretrain for images, of mmaction for videos.
_HEADS = {4: 'head.fc.', 5: 'cls_head.fc_cls.'}


def slowfast_rev_to_mm(
    weights: Mapping[str, Tensor], backbone_only: bool = False
) -> Conversion:
    """Rename a checkpoint of SlowFast's Rev-ViT or Rev-MViT.

    Queries, keys and values that are apart become the rows of one ``qkv``. The streams
    are joined in SlowFast's order by our backbones, so that no columns are swapped.

    Args:
        weights: Tensors by SlowFast's names, ``model_state`` of its checkpoints.
        backbone_only: Leave out the prefix ``backbone.`` and the classifier.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape.
    """
    found = strip_prefix(dict(weights), 'module.')
    head = _split_head(found, _SLOWFAST_HEAD)
    names = _names(found)
    renamed = _stack_qkv(_renamed(found, names, forward=True))
    axes = _patch_axes(renamed)
    layout = layout_of(renamed)
    check_layout(renamed, layout.shapes, _NETWORK, 'dr2net_mm')
    _check_head(head, _SLOWFAST_HEAD, layout.width)
    prefix = _HEADS[axes]
    classifier = {prefix + name: value for name, value in head.items()}
    notes = [] if head else ['the checkpoint has no classifier']
    return Conversion(
        as_recognizer(renamed, classifier, backbone_only), layout.backbone, notes
    )


def mm_to_slowfast_rev(weights: Mapping[str, Tensor]) -> Conversion:
    """Give a Rev-ViT or Rev-MViT of ours, or of mmpretrain, SlowFast's names.

    Images' queries, keys and values are apart in SlowFast's published networks,
    those of videos are not.

    Args:
        weights: Tensors of a classifier, or of a backbone alone.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape, or (α, β) is not
            (0, 1), which is all that SlowFast computes.
    """
    found = dict(weights)
    heads = [prefix for prefix in _HEADS.values() if _any(found, prefix)]
    head = _split_head(found, heads[0]) if heads else {}
    found = strip_prefix(found, 'backbone.')
    _check_member({name: found.pop(name) for name in _COEFFICIENTS if name in found})
    axes = _patch_axes(found)
    layout = layout_of(found)
    check_layout(found, layout.shapes, _NETWORK, 'dr2net_mm')
    _check_head(head, heads[0] if heads else '', layout.width)
    if axes == 4:
        found = _split_qkv(found)
    renamed = _renamed(found, _names(found), forward=False)
    classifier = {_SLOWFAST_HEAD + name: value for name, value in head.items()}
    return Conversion({**renamed, **classifier}, {}, [])


def _patch_axes(weights: Weights) -> int:
    """Return the axes of patches: 4 for images, 5 for videos.

    Raises:
        UserError: If there is no patch embedding, or one of another kind.
    """
    videos = _PATCH in weights and weights[_PATCH].dim() == 5
    return require(weights, _PATCH, 5 if videos else 4).dim()


def _any(weights: Weights, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in weights)


def _names(weights: Weights) -> List[Tuple[str, str]]:
    """Return SlowFast's names and ours for this network."""
    transitions = sum(name.endswith('.attn.pool_q.weight') for name in weights)
    pooled = any(name.endswith('.attn.pool_k.weight') for name in weights)
    if not pooled:
        return list(_VIT_NAMES)
    return [(theirs, ours.format(scale=transitions)) for theirs, ours in _MVIT_NAMES]


def _renamed(weights: Weights, names: List[Tuple[str, str]], forward: bool) -> Weights:
    """Rename weights; those without another name keep theirs."""
    rules = []
    for theirs, ours in names:
        source, target = (theirs, ours) if forward else (ours, theirs)
        pattern = re.escape(source).replace(r'\*', r'(\d+)')
        rules.append((re.compile(f'^{pattern}'), target.replace('*', r'\g<1>')))
    renamed: Weights = {}
    for name, value in weights.items():
        for rule, target in rules:
            if rule.match(name):
                name = rule.sub(target, name)
                break
        renamed[name] = value
    return renamed


def _stack_qkv(weights: Weights) -> Weights:
    """Put ``q``, ``k`` and ``v`` of each attention into one ``qkv``.

    Where one of the three is missing they stay as they are, and the check of the layout
    names them.
    """
    stacked: Weights = {}
    for name, value in weights.items():
        match = re.match(r'(.*\.attn\.)([qkv])(\.(?:weight|bias))$', name)
        parts = []
        if match:
            stem, _, kind = match.groups()
            names = [f'{stem}{part}{kind}' for part in 'qkv']
            parts = [weights[part] for part in names if part in weights]
        if not match or len(parts) < 3:
            stacked[name] = value
        elif match.group(2) == 'q':
            stacked[f'{stem}qkv{kind}'] = torch.cat(parts)
    return stacked


def _split_qkv(weights: Weights) -> Weights:
    """Take each ``qkv`` apart."""
    split: Weights = {}
    for name, value in weights.items():
        if '.attn.qkv.' not in name:
            split[name] = value
            continue
        for part, rows in zip('qkv', value.chunk(3)):
            # Not views: a file would hold the whole for each.
            split[name.replace('.qkv.', f'.{part}.')] = rows.clone()
    return split


def _split_head(weights: Weights, prefix: str) -> Weights:
    """Take the classifier out of ``weights``."""
    names = [name for name in weights if name.startswith(prefix)]
    return {name[len(prefix) :]: weights.pop(name) for name in names}


def _check_head(head: Weights, prefix: str, width: int) -> None:
    if not head:
        return
    classes = len(head['bias']) if 'bias' in head else 0
    expected = {'weight': (classes, width), 'bias': (classes,)}
    check_layout(
        {prefix + name: value for name, value in head.items()},
        {prefix + name: shape for name, shape in expected.items()},
        _NETWORK,
        'the checkpoint',
    )


def _check_member(coefficients: Dict[str, Any]) -> None:
    values = tuple(float(value) for value in coefficients.values())
    if values and values != (0.0, 1.0):
        raise UserError(
            f'the checkpoint was trained to (alpha, beta) = {values}; SlowFast and '
            'mmpretrain compute (0, 1) alone'
        )
