"""Attention and transition blocks of mmaction's MViT, some queries at a time."""

import itertools
from functools import partial
from math import prod
from typing import Iterator, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from mmaction.models.backbones.mvit import attention_pool, resize_decomposed_rel_pos
from torch import Tensor, nn

from dr2net_mm.backbones.branches.parts import in_parts, parts_of, recomputed
from dr2net_mm.backbones.branches.pooling_attention import pooled_size

Size = Tuple[int, ...]
Tables = Tuple[Tensor, Tensor, Tensor]

#: Products of queries with relative positions along time, height and width.
_EQUATIONS = ('bnthwc,tkc->bnthwk', 'bnthwc,hkc->bnthwk', 'bnthwc,wkc->bnthwk')


def attend(
    attention: nn.Module, x: Tensor, size: Size, rows: Optional[int], recompute: bool
) -> Tensor:
    """Tokens [B, N', C'] that mmaction's ``MultiScaleAttention`` makes of [B, N, C].

    Args:
        attention: The attention.
        x: Tokens, the class token in front where there is one.
        size: Size of their grid along time, height and width.
        rows: How many tokens ought to be worked on at a time; None for all of them, in
            mmaction's own way. Otherwise queries, keys and values are projected and
            pooled one after the other, and then the queries attend some frames at a
            time, one being the least.
        recompute: Whether each part is evaluated again in its backward pass.
    """
    if rows is None:
        return attention(x, size)[0]
    q, k, v = (
        recomputed(_projected, attention, x, size, i, when=recompute) for i in range(3)
    )
    queries, keys = (
        tuple(pooled_size(pool, size)) for pool in (attention.pool_q, attention.pool_k)
    )
    step = max(1, queries[0] * rows // x.shape[1])
    see = partial(recomputed, _seen, attention, when=recompute)
    extra = int(attention.with_cls_token)
    found = [see(q[:, :, :1], k, v)] if extra else []
    parts = q[:, :, extra:].split(step * prod(queries[1:]), 2)
    for part, tables in zip(parts, _tables(attention, queries, keys, step)):
        out = see(part, k, v, tables)
        found.append(out + part if attention.residual_pooling else out)
    return attention.proj(torch.cat(found, 2).transpose(1, 2).flatten(2))


def _projected(attention: nn.Module, x: Tensor, size: Size, number: int) -> Tensor:
    """Project tokens to queries, keys or values [B, heads, N', C' / heads]."""
    width, which = attention.out_dims, 'qkv'[number]
    part = slice(number * width, (number + 1) * width)
    bias = attention.qkv.bias
    found = F.linear(
        x, attention.qkv.weight[part], None if bias is None else bias[part]
    )
    heads = found.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
    return attention_pool(
        heads,
        getattr(attention, f'pool_{which}'),
        size,
        norm=getattr(attention, f'norm_{which}'),
        with_cls_token=attention.with_cls_token,
    )[0]


def _tables(
    attention: nn.Module, queries: Size, keys: Size, step: int
) -> Iterator[Optional[Tables]]:
    """Relative positions of some frames of queries at a time; None without them."""
    if not attention.rel_pos_embed:
        return itertools.repeat(None)
    names = ('rel_pos_t', 'rel_pos_h', 'rel_pos_w')
    # Looked up once, so that all parts of a sample add up to one gradient of a table.
    time, height, width = (
        resize_decomposed_rel_pos(getattr(attention, name), *lengths)
        for name, *lengths in zip(names, queries, keys)
    )
    return ((part, height, width) for part in time.split(step))


def _seen(
    attention: nn.Module,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tables: Optional[Tables] = None,
) -> Tensor:
    """Compute what some queries see, [B, heads, n, C / heads].

    Args:
        attention: The attention.
        q: The queries, [B, heads, n, C / heads].
        k: All keys, [B, heads, N, C / heads].
        v: All values, likewise.
        tables: Relative positions along time, height and width, each [of the queries,
            of the keys, C / heads]; None for the class token.
    """
    weights = (q * attention.scale) @ k.transpose(-2, -1)
    if tables is not None:
        grid = q.unflatten(2, tuple(len(table) for table in tables))
        time, height, width = (
            torch.einsum(equation, grid, table)
            for equation, table in zip(_EQUATIONS, tables)
        )
        positions = (
            time[..., :, None, None]
            + height[..., None, :, None]
            + width[..., None, None, :]
        )
        positions = positions.flatten(5).flatten(2, 4)
        # The class token has no position.
        weights = weights + F.pad(
            positions, (weights.shape[-1] - positions.shape[-1], 0)
        )
    return weights.softmax(dim=-1) @ v


def changed(
    block: nn.Module,
    x: Tensor,
    size: Size,
    chunk: Union[None, int, str],
    recompute: bool,
) -> Tensor:
    """Tokens [B, N', C'] behind a block that changes the shape of the stream.

    Args:
        block: mmaction's ``MultiScaleBlock``.
        x: Tokens [B, N, C].
        size: Size of their grid along time, height and width.
        chunk: How many tokens at a time, see ``DualResidualOptions.chunk``: whole
            samples, or where one is too large, parts of it in turn.
        recompute: Whether each part is evaluated again in its backward pass.
    """
    values = _values_per_token(block, size, x.shape[1])
    samples, rows = parts_of(x, values, chunk)
    of_samples = partial(_of_samples, block, size, rows, recompute)
    return in_parts(of_samples, x, samples, recompute)


def _values_per_token(block: nn.Module, size: Size, tokens: int) -> int:
    """Numbers that a block holds for a token while it is differentiated, about."""
    attention = block.attn
    queries, keys = (
        prod(pooled_size(pool, size)) for pool in (attention.pool_q, attention.pool_k)
    )
    weights = (1 + 2 * attention.rel_pos_embed) * attention.num_heads * keys
    width, hidden = attention.out_dims, block.mlp.fc1.out_features
    # Norms; q, k, v and what is added to them, each in two layouts.
    each = 2 * block.in_dims + 8 * width
    return each + (weights + 4 * hidden + 4 * width) * queries // tokens


def _of_samples(
    block: nn.Module, size: Size, rows: Optional[int], recompute: bool, x: Tensor
) -> Tensor:
    if rows is None:
        return block(x, size)[0]
    normed = block.norm1(x)
    mixed = attend(block.attn, normed, size, rows, recompute)
    widens = block.proj is not None
    early = widens and block.dim_mul_in_attention
    skip = recomputed(
        _skipped, block, normed if early else x, size, early, when=recompute
    )
    x = skip + block.drop_path(mixed)
    normed = block.norm2(x)
    mixed = in_parts(block.mlp, normed, rows, recompute, dim=1)
    if widens and not early:
        x = in_parts(block.proj, normed, rows, recompute, dim=1)
    return x + block.drop_path(mixed)


def _skipped(block: nn.Module, x: Tensor, size: Size, widens: bool) -> Tensor:
    """Return the tokens that attention is added to."""
    x = block.proj(x) if widens else x
    if block.pool_skip is None:
        return x
    return attention_pool(
        x, block.pool_skip, size, with_cls_token=block.with_cls_token
    )[0]
