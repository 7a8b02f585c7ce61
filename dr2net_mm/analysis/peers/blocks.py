"""The blocks of a backbone, one after another."""

from typing import List, Tuple

from torch import nn

from dr2net_mm.errors import UserError

#: Names of the lists that hold blocks, in the classes that are known.
_LISTS = ('blocks', 'layers')


def block_lists(model: nn.Module) -> List[str]:
    """Return the names of the innermost lists of blocks of a backbone.

    Raises:
        UserError: If there are none.
    """
    lists = [
        name
        for name, module in model.named_modules()
        if name.split('.')[-1] in _LISTS and _holds_blocks(module)
    ]
    inner = [name for name in lists if not any(x.startswith(f'{name}.') for x in lists)]
    if not inner:
        raise UserError(
            f'no list of blocks is found in {type(model).__name__}; accepted: lists '
            f'called {" or ".join(_LISTS)}; choose another --backbone'
        )
    return inner


def named_blocks(model: nn.Module) -> List[Tuple[str, nn.Module]]:
    """Return name and module of each block, in order."""
    return [
        (f'{name}.{key}', block)
        for name in block_lists(model)
        for key, block in model.get_submodule(name).named_children()
    ]


def block_width(block: nn.Module) -> int:
    """Return the channels of a block's tokens, which its first norm tells."""
    for module in block.modules():
        if isinstance(module, nn.LayerNorm):
            return int(module.normalized_shape[-1])
    raise UserError(
        f'{type(block).__name__} has no LayerNorm, which would tell its channels'
    )


def _holds_blocks(module: nn.Module) -> bool:
    """Return whether a module is a list of blocks, not of the layers of an MLP."""
    if not isinstance(module, (nn.ModuleList, nn.Sequential)):
        return False
    return len(module) > 0 and all(
        any(isinstance(part, nn.LayerNorm) for part in child.modules())
        for child in module
    )
