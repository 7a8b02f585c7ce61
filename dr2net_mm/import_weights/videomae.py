"""Original VideoMAE checkpoints to mmaction's names, and back."""

import re
from typing import Dict, List, Mapping, Optional, Tuple

import torch
from torch import Tensor

from dr2net_mm.errors import UserError

from .conversion import (
    Conversion,
    Weights,
    as_recognizer,
    check_final_norm,
    check_layout,
    drop,
    fitting_backbone,
    place_final_norm,
    require,
    strip_prefix,
)
from .vit_layout import FC_NORM, NORM, PATCH_WEIGHT, VitLayout, sincos_positions

# (name in VideoMAE, name in mmaction), of parts of a backbone.
_RENAMED = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('.mlp.fc1.', '.mlp.layers.0.0.'),
    ('.mlp.fc2.', '.mlp.layers.1.'),
)
_HEAD = ('head.', 'cls_head.fc_cls.')
_PRETRAINING_ONLY = ('decoder.', 'encoder_to_decoder.', 'mask_token')
_COEFFICIENTS = re.compile(r'(^|\.)dual_residual\.(alpha|beta)$')


def videomae_to_mmaction(
    weights: Mapping[str, Tensor],
    img_size: int = 224,
    num_frames: int = 16,
    final_norm: Optional[str] = None,
    backbone_only: bool = False,
) -> Conversion:
    """Rename a pretraining or finetuning checkpoint of the original VideoMAE.

    The decoder of a pretraining checkpoint is dropped. mmaction keeps sine and cosine
    positions in the state dict, so they are added.

    Args:
        weights: Tensors by their names in the original ``VisionTransformer`` or
            ``PretrainVisionTransformer``.
        img_size: Height and width of a frame in pixels, for the positions.
        num_frames: Frames of a clip, for the positions.
        final_norm: Where the norm behind the last block goes: ``'fc_norm'``,
            ``'norm'``, or ``'fresh'``. By default it stays where a finetuning
            checkpoint has it, and is fresh for a pretraining checkpoint, as in the
            original finetuning.
        backbone_only: Leave out the classifier and the prefix ``backbone.``.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape.

    Source: MCG-NJU/VideoMAE, ``modeling_finetune.py``, ``modeling_pretrain.py`` and
    the loading of a checkpoint in ``run_class_finetuning.py``.
    """
    check_final_norm(final_norm)
    notes: List[str] = []
    bare = strip_prefix(dict(weights), 'module.')
    if any('patch_embed.projection' in name for name in bare):
        raise UserError(
            "the checkpoint has mmaction's names already; the other direction is "
            '--to-original'
        )
    if any(name.startswith('encoder.') for name in bare):
        bare = drop(bare, _PRETRAINING_ONLY, 'used by pretraining only', notes)
        bare = strip_prefix(bare, 'encoder.')
        final_norm = final_norm or 'fresh'
    bare = {re.sub(r'^backbone\.', '', name): value for name, value in bare.items()}
    backbone, head = _split_head(bare, *_HEAD)
    backbone = {_rename(name): value for name, value in backbone.items()}
    require(backbone, PATCH_WEIGHT, 5)
    layout = VitLayout.of(backbone)
    placed = place_final_norm(backbone, final_norm, layout.embed_dims, notes)
    times, side = layout.positions(img_size, num_frames)
    positions = times * side * side
    learned = 'pos_embed' in backbone
    if not learned:
        backbone['pos_embed'] = sincos_positions(positions, layout.embed_dims)
        notes.append(
            f'added sine and cosine positions of {num_frames} frames of '
            f'{img_size} x {img_size} pixels'
        )
    check_layout(backbone, layout.shapes(positions, placed))
    if backbone_only and head:
        notes.append('dropped the classifier')
    more = dict(use_learnable_pos_emb=True) if learned else {}
    return Conversion(
        as_recognizer(backbone, _checked_head(head, layout), backbone_only),
        fitting_backbone(
            layout, placed, img_size=img_size, num_frames=num_frames, **more
        ),
        notes,
    )


def mmaction_to_videomae(weights: Mapping[str, Tensor]) -> Conversion:
    """Rename mmaction's recognizer or backbone to the original finetuning model.

    Args:
        weights: Tensors by mmaction's names, with or without ``backbone.``.

    Raises:
        UserError: If a tensor is unknown, missing or of another shape, or the network
            is a dual-residual one that is not at (α, β) = (1, 0), where alone it
            computes what a plain vision transformer does.
    """
    notes: List[str] = []
    kept = strip_prefix(dict(weights), 'module.')
    _check_coefficients(kept)
    kept = {name: v for name, v in kept.items() if not _COEFFICIENTS.search(name)}
    if any(name.startswith('backbone.') for name in kept):
        head = {name: v for name, v in kept.items() if not name.startswith('backbone.')}
        backbone = strip_prefix(
            {name: v for name, v in kept.items() if name.startswith('backbone.')},
            'backbone.',
        )
    else:
        backbone, head = kept, {}
    if 'patch_embed.proj.weight' in backbone:
        raise UserError(
            "the checkpoint has VideoMAE's names already; the other direction is the "
            'one without --to-original'
        )
    require(backbone, PATCH_WEIGHT, 5)
    layout = VitLayout.of(backbone)
    placed = FC_NORM if f'{FC_NORM}.weight' in backbone else NORM
    expected = layout.shapes(0, placed)
    if 'pos_embed' in backbone:
        positions = require(backbone, 'pos_embed', 3).shape[1]
        expected = layout.shapes(positions, placed)
    else:
        # Some published checkpoints leave out what mmaction computes.
        del expected['pos_embed']
    check_layout(backbone, expected)
    head = _checked_head(head, layout)
    if 'pos_embed' in backbone:
        table = sincos_positions(positions, layout.embed_dims)
        # Up to the rounding of half precision.
        if torch.allclose(backbone['pos_embed'].float(), table, atol=5e-3):
            del backbone['pos_embed']
            notes.append('dropped pos_embed: sine and cosine positions are computed')
    renamed = {_rename(name, back=True): value for name, value in backbone.items()}
    for name, value in head.items():
        renamed[_HEAD[0] + name[len(_HEAD[1]) :]] = value
    return Conversion(renamed, {}, notes)


def _rename(name: str, back: bool = False) -> str:
    for theirs, ours in _RENAMED:
        old, new = (ours, theirs) if back else (theirs, ours)
        if name.startswith(old) or (old.startswith('.') and old in name):
            return name.replace(old, new, 1)
    return name


def _split_head(weights: Weights, old: str, new: str) -> Tuple[Weights, Weights]:
    """Split weights into backbone and renamed classifier."""
    backbone = {name: v for name, v in weights.items() if not name.startswith(old)}
    head = {
        new + name[len(old) :]: v for name, v in weights.items() if name not in backbone
    }
    return backbone, head


def _checked_head(head: Weights, layout: VitLayout) -> Weights:
    """Rename the classifier to mmaction's names after checking its layout."""
    if head:
        weight = require(head, f'{_HEAD[1]}weight', 2)
        expected: Dict[str, Tuple[int, ...]] = {
            f'{_HEAD[1]}weight': (weight.shape[0], layout.embed_dims),
            f'{_HEAD[1]}bias': (weight.shape[0],),
        }
        check_layout(head, expected)
    return head


def _check_coefficients(weights: Weights) -> None:
    values = {
        name.rsplit('.', 1)[1]: float(value)
        for name, value in weights.items()
        if _COEFFICIENTS.search(name)
    }
    if values and (values.get('alpha'), values.get('beta')) != (1.0, 0.0):
        raise UserError(
            f'the checkpoint is that of a dual-residual network at (alpha, beta) = '
            f'({values.get("alpha")}, {values.get("beta")}); a plain vision '
            'transformer with these weights computes something else. Only a network '
            'at (1, 0) can be exported: finish its schedule there with '
            "dict(type='Dr2CoefficientHook', end=(1.0, 0.0), monotone=False, ...)"
        )
