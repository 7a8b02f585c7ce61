"""Comparing the tensors of a file with those of a model, and saying what the file is.

The one comparison behind ``init_cfg``, ``pretrained``, ``load_from``, ``--resume`` and
tests.
"""

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Tuple

import torch

Shape = Tuple[int, ...]

# Absent from conventional checkpoints (the coefficients of our backbones), ignored by
# MMEngine too (a counter), or computed when a model is built.
_OPTIONAL_KEYS = re.compile(
    r'(^|\.)(dual_residual\.(alpha|beta)|num_batches_tracked'
    r'|relative_position_index|attn_mask)$'
)

# Names that tell a layout, in the order in which they are looked for.
_LAYOUTS = (
    (r'^encoder\.blocks\.\d+\.', "VideoMAE's pretraining network"),
    (r'^(bbox_head|roi_head|rpn_head|neck|decoder)\.', 'a whole detector'),
    (r'^(cls_head|localizer)\.', 'a whole recognizer or localizer'),
    (r'^backbone\.', 'a backbone, under names that begin with backbone.'),
    (r'^stages\.\d+\.blocks\.\d+\.attn\.w_msa\.', "a bare backbone: mmdet's Swin"),
    (r'^layers\.\d+\.blocks\.\d+\.attn\.', "a Swin in its authors' layout"),
    (r'^blocks\.\d+\.attn\.(qkv|q_bias)', "a ViT in its authors' or timm's layout"),
    (r'^layers\.\d+\.ln1\.', "a bare backbone: mmpretrain's ViT or Rev-ViT"),
    (r'^(cls_token|vit|transformer\.)', 'a ViT of another library'),
    (r'^layer\d\.\d+\.', "a bare backbone: torchvision's ResNet"),
    (r'^features\.\d+\.', 'a network of torchvision'),
)


class Comparison(NamedTuple):
    """Names in a model and not in a checkpoint, and shapes that differ."""

    matched: List[str]
    missing: List[str]
    mismatched: List[Tuple[str, Shape, Shape]]

    @property
    def total(self) -> int:
        """Number of the model's tensors that were looked for."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    def below(self, prefix: str) -> 'Comparison':
        """Return the part of the comparison whose names start with ``prefix``."""
        return Comparison(
            [name for name in self.matched if name.startswith(prefix)],
            [name for name in self.missing if name.startswith(prefix)],
            [entry for entry in self.mismatched if entry[0].startswith(prefix)],
        )

    def example(self) -> str:
        """Describe the first difference, in words."""
        if self.mismatched:
            name, found, wanted = self.mismatched[0]
            return f'{name} is {found} in the checkpoint and {wanted} in the model'
        return f'it has no {self.missing[0]}' if self.missing else ''


def shapes(state_dict: Mapping[str, Any]) -> Dict[str, Shape]:
    """Return the shapes of the tensors that a checkpoint should hold, by name."""
    return {
        re.sub(r'^module\.', '', name): tuple(value.shape)
        for name, value in state_dict.items()
        if torch.is_tensor(value) and not _OPTIONAL_KEYS.search(name)
    }


def compare(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> Comparison:
    """Compare the tensors that a model wants with those of a checkpoint."""
    wanted_shapes, found_shapes = shapes(wanted), shapes(found)
    return Comparison(
        [
            name
            for name, size in wanted_shapes.items()
            if found_shapes.get(name) == size
        ],
        [name for name in wanted_shapes if name not in found_shapes],
        [
            (name, found_shapes[name], size)
            for name, size in wanted_shapes.items()
            if name in found_shapes and found_shapes[name] != size
        ],
    )


def weights_of(content: Any) -> Dict[str, Any]:
    """Find the tensors of a checkpoint, wherever its author put them."""
    for key in ('state_dict', 'model', 'module'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        return {}
    return {
        re.sub(r'^module\.', '', str(name)): value
        for name, value in content.items()
        if torch.is_tensor(value)
    }


def layout(names: Iterable[str]) -> str:
    """Tell from its names which network a file belongs to."""
    names = list(names)
    if not names:
        return 'a file without weights'
    for pattern, meaning in _LAYOUTS:
        if any(re.search(pattern, name) for name in names):
            return meaning
    return f'weights of another kind ({names[0]}, ...)'
