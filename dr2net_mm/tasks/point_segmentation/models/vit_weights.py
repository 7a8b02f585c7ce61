"""What a point encoder can take from the weights of a vision transformer of images."""

import re
from typing import Dict, List, Tuple

from torch import Tensor, nn

from dr2net_mm.backbones.timm.weights import read_weights

#: What images and points have in common, by timm's names.
SHARED = ('cls_token', 'norm.', 'blocks.')

_BLOCK = re.compile(r'blocks\.(\d+)\.')


def block_weights(encoder: nn.Module, source: str) -> Tuple[Dict[str, Tensor], str]:
    """Weights of blocks, norm and CLS token out of a file.

    A file of more blocks gives its first ones. Its patch embedding, position
    embeddings and head are for images and are passed over.

    Args:
        encoder: The encoder that they are for.
        source: File or address (https://...) of a checkpoint with timm's names.

    Returns:
        The weights by name, and a sentence about what was taken and what was not.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks blocks, or their shapes differ.
    """
    weights = _bare(read_weights(source))
    own = encoder.state_dict()
    wanted = [name for name in own if name.startswith(SHARED)]
    taken = {
        name: weights[name]
        for name in wanted
        if name in weights and weights[name].shape == own[name].shape
    }
    _check(wanted, own, weights, taken, source)
    left = [name for name in wanted if name not in taken]
    return taken, _report(own, weights, taken, left, source)


def _bare(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Weights of the encoder inside a larger model, without the prefix."""
    for prefix in ('', 'encoder.', 'backbone.'):
        below = {
            name[len(prefix) :]: value
            for name, value in weights.items()
            if name.startswith(prefix)
        }
        if any(_BLOCK.match(name) for name in below):
            return below
    return weights


def _check(
    wanted: List[str],
    own: Dict[str, Tensor],
    weights: Dict[str, Tensor],
    taken: Dict[str, Tensor],
    source: str,
) -> None:
    """Raise unless every block gets all of its weights, and no scale is left over."""
    blocks = [name for name in wanted if _BLOCK.match(name)]
    missing = [name for name in blocks if name not in weights]
    wrong = [name for name in blocks if name in weights and name not in taken]
    scales = sorted(name for name in weights if re.search(r'\.ls[12]\.gamma$', name))
    if scales and not any(name.endswith('.gamma') for name in own):
        raise ValueError(
            f'{source} has LayerScale ({scales[0]}) and the encoder has none; set '
            'layer_scale=1e-5 in the encoder.'
        )
    if wrong:
        name = wrong[0]
        raise ValueError(
            f'{source} is not of this encoder: {name} has shape '
            f'{tuple(weights[name].shape)}, the encoder takes '
            f'{tuple(own[name].shape)}. Set embed_dims, num_heads and mlp_ratio to '
            'those of the file.'
        )
    if missing:
        remedy = 'set depth to its number of blocks, or take another file'
        if all('.ls' in name for name in missing):
            remedy = 'set layer_scale=None in the encoder'
        raise ValueError(
            f'{source} gives {len(blocks) - len(missing)} of {len(blocks)} tensors of '
            f'the blocks; {missing[0]} is missing. It has to be a ViT with names of '
            f'timm; {remedy}.'
        )


def _report(
    own: Dict[str, Tensor],
    weights: Dict[str, Tensor],
    taken: Dict[str, Tensor],
    left: List[str],
    source: str,
) -> str:
    has, file_has = _block_count(taken), _block_count(weights)
    passed = sorted({name.split('.')[0] for name in weights if name not in taken})
    fresh = sorted({name.split('.')[0] for name in own if name not in taken})
    fresh = [name for name in fresh if name != 'dual_residual']
    text = f'{source}: took {len(taken)} tensors, blocks 1 to {has}'
    if file_has > has:
        text += f' of {file_has}'
    text += ''.join(f', {name}' for name in ('norm', 'cls_token') if _any(taken, name))
    if left:
        text += f'; not in the file: {", ".join(left)}'
    if passed:
        text += f'; passed over: {", ".join(passed)}'
    return f'{text}; starts from random weights: {", ".join(fresh)}.'


def _block_count(weights: Dict[str, Tensor]) -> int:
    found = (_BLOCK.match(name) for name in weights)
    return len({match.group(1) for match in found if match})


def _any(taken: Dict[str, Tensor], part: str) -> bool:
    return any(name == part or name.startswith(f'{part}.') for name in taken)
