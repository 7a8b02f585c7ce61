"""Checkpoints of blocks that keep the results of matrix products."""

import types
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn

from dr2net_mm.errors import UserError

from .blocks import named_blocks


def _products() -> list:
    aten = torch.ops.aten
    names = (
        'mm',
        'addmm',
        'bmm',
        'baddbmm',
        '_scaled_dot_product_flash_attention',
        '_scaled_dot_product_efficient_attention',
        '_scaled_dot_product_flash_attention_for_cpu',
    )
    return [getattr(aten, name).default for name in names if hasattr(aten, name)]


def save_products(model: nn.Module) -> nn.Module:
    """Checkpoint each block, but keep what its matrix products return, in place.

    Raises:
        UserError: If this torch cannot do that.
    """
    contexts = getattr(
        torch.utils.checkpoint, 'create_selective_checkpoint_contexts', None
    )
    if contexts is None:
        raise UserError(
            f'torch {torch.__version__} has no selective checkpoints; use torch 2.4 '
            'or later'
        )
    context = partial(contexts, _products())
    for _, block in named_blocks(model):
        block.forward = types.MethodType(partial(_selective, context=context), block)
    return model


def _selective(block: nn.Module, *args: Any, context: Any, **kwargs: Any) -> Any:
    forward = types.MethodType(type(block).forward, block)
    return torch.utils.checkpoint.checkpoint(
        forward, *args, use_reentrant=False, context_fn=context, **kwargs
    )
