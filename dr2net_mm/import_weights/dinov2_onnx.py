"""DINOv2 in an ONNX file, as Hugging Face's class exports it, to timm's names."""

import re
from pathlib import Path
from typing import Dict, List, Tuple

import torch
from torch import Tensor

from dr2net_mm.errors import UserError

from .conversion import Conversion, Weights, check_layout, drop, require

_PREFIX = 'backbone.'
#: Constants of the embeddings, which have no names in the file.
_CLASS_POSITION = 'embeddings.class_position'
_PATCH_POSITIONS = 'embeddings.patch_positions'
_POSITIONS = 'embeddings.position_embeddings'

#: Parts of a name at Hugging Face, in the order in which they are replaced.
_RENAMED = (
    ('embeddings.cls_token', 'cls_token'),
    ('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
    ('encoder.layer.', 'blocks.'),
    ('attention.output.dense', 'attn.proj'),
    ('layer_scale1.lambda1', 'ls1.gamma'),
    ('layer_scale2.lambda1', 'ls2.gamma'),
    ('layernorm.', 'norm.'),
)
_QUERY_KEY_VALUE = tuple(
    f'attention.attention.{part}.' for part in ('query', 'key', 'value')
)


def read_onnx_weights(path: Path) -> Weights:
    """Read tensors of an ONNX file by the names of the modules that use them.

    Torch's exporter keeps the names of parameters, but stores the matrix of a linear
    layer transposed, [in, out], under a number. The node that multiplies with it is
    named after its module, so that the matrix becomes ``<module>.weight``, [out, in].
    The position embeddings, which exporters may cut into two constants, become
    ``embeddings.class_position`` [1, 1, C] and ``embeddings.patch_positions``
    [1, N, C].

    Args:
        path: The file.

    Raises:
        UserError: If onnx is not installed, or the file is none of ONNX.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise UserError(
            f'reading {path} needs onnx, which cannot be imported ({error}): pip '
            'install onnx'
        ) from None
    try:
        graph = onnx.load(str(path)).graph
    except FileNotFoundError:
        raise UserError(f'no such ONNX file: {path}') from None
    except Exception as error:
        # Protobuf's own class of errors is not public.
        raise UserError(f'{path} is not an ONNX file ({error})') from None
    constants = {item.name: item for item in graph.initializer}
    weights: Weights = {}
    for node in graph.node:
        for name in node.input:
            if name not in constants or name in weights:
                continue
            value = torch.from_numpy(numpy_helper.to_array(constants[name]).copy())
            if not name.startswith('onnx::'):
                weights[name] = value
            elif node.op_type == 'MatMul':
                weights[f'{_module_of(node.name)}.weight'] = value.t().contiguous()
            elif '/embeddings/' in node.name and value.dim() == 3:
                single = value.shape[1] == 1
                kind = _CLASS_POSITION if single else _PATCH_POSITIONS
                weights[_PREFIX + kind] = value
    return weights


def _module_of(node: str) -> str:
    """Return ``backbone.fc`` of the node ``/backbone/fc/MatMul``."""
    return '.'.join(node.strip('/').split('/')[:-1])


def dinov2_onnx_to_timm(weights: Weights) -> Conversion:
    """Rename the tensors of :func:`read_onnx_weights` for timm's ``…_dinov2`` models.

    Query, key and value become one ``qkv``; class token and position embeddings become
    ``cls_token`` and ``pos_embed`` [1, 1 + N, C]. What is behind the backbone is
    dropped.

    Raises:
        UserError: If the weights are not those of a DINOv2 with LayerScale and
            ordinary MLPs.
    """
    notes: List[str] = []
    names = {name for name in weights if not name.startswith(_PREFIX)}
    weights = drop(weights, tuple(names), 'not of the backbone', notes)
    weights = {name[len(_PREFIX) :]: value for name, value in weights.items()}
    renamed: Weights = {}
    for name, value in weights.items():
        if name in (_CLASS_POSITION, _PATCH_POSITIONS, _POSITIONS):
            continue
        if any(part in name for part in _QUERY_KEY_VALUE):
            continue
        for old, new in _RENAMED:
            name = name.replace(old, new)
        renamed[name] = value
    whole = [_POSITIONS] if _POSITIONS in weights else None
    positions = whole or [_CLASS_POSITION, _PATCH_POSITIONS]
    renamed['pos_embed'] = torch.cat(
        [require(weights, name, 3) for name in positions], dim=1
    )
    require(renamed, 'patch_embed.proj.weight', 4)
    numbers = [re.match(r'blocks\.(\d+)\.', name) for name in renamed]
    depth = 1 + max((int(found.group(1)) for found in numbers if found), default=-1)
    for index in range(depth):
        for kind, dimensions in (('weight', 2), ('bias', 1)):
            parts = [
                require(weights, f'encoder.layer.{index}.{part}{kind}', dimensions)
                for part in _QUERY_KEY_VALUE
            ]
            renamed[f'blocks.{index}.attn.qkv.{kind}'] = torch.cat(parts)
    check_layout(renamed, _shapes(renamed, depth), 'a DINOv2', 'timm')
    return Conversion(renamed, {}, notes)


def _shapes(weights: Dict[str, Tensor], depth: int) -> Dict[str, Tuple[int, ...]]:
    """Return the shapes of timm's DINOv2 with this patch embedding."""
    patch = weights['patch_embed.proj.weight']
    width, positions = patch.shape[0], weights['pos_embed'].shape[1]
    hidden = 4 * width
    shapes: Dict[str, Tuple[int, ...]] = {
        'cls_token': (1, 1, width),
        'pos_embed': (1, positions, width),
        'patch_embed.proj.weight': tuple(patch.shape),
        'patch_embed.proj.bias': (width,),
        'norm.weight': (width,),
        'norm.bias': (width,),
    }
    linear = {
        'attn.qkv': (3 * width, width),
        'attn.proj': (width, width),
        'mlp.fc1': (hidden, width),
        'mlp.fc2': (width, hidden),
    }
    for index in range(depth):
        block = f'blocks.{index}'
        for name, shape in linear.items():
            shapes[f'{block}.{name}.weight'] = shape
            shapes[f'{block}.{name}.bias'] = shape[:1]
        for norm in ('norm1', 'norm2'):
            shapes[f'{block}.{norm}.weight'] = (width,)
            shapes[f'{block}.{norm}.bias'] = (width,)
        for scale in ('ls1', 'ls2'):
            shapes[f'{block}.{scale}.gamma'] = (width,)
    return shapes
