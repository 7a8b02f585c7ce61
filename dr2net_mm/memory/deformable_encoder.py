"""Encoder layers with deformable attention, in pieces that share the values."""

from typing import Any, Callable, Dict, Optional

from torch import Tensor, nn

from .cuts import Cut, forward_name
from .piecewise import Evaluation

ATTENTION = 'mmcv.MultiScaleDeformableAttention.forward'


class DeformableEncoderCut(Cut):
    """Cut of an encoder layer along its queries.

    The values that all queries look at are projected once for each sample; sampling,
    feed-forward network and norms run on a piece of the queries.
    """

    def __init__(self) -> None:
        super().__init__(
            samples=(
                'query',
                'query_pos',
                'reference_points',
                'key_padding_mask',
                'valid_ratios',
            ),
            tokens=('query', 'query_pos', 'reference_points'),
            shared=('spatial_shapes', 'level_start_index'),
        )

    def refusal(self, module: nn.Module) -> Optional[str]:
        """Return why a layer is none that is known, or None."""
        attention = getattr(module, 'self_attn', None)
        if not isinstance(attention, nn.Module):
            return 'it has no self_attn'
        if forward_name(attention) != ATTENTION:
            return f'its self_attn is a {type(attention).__name__}'
        return super().refusal(module)

    def evaluation(self, module: nn.Module, method: Callable[..., Any]) -> Evaluation:
        """Return what is evaluated: the layer with values that are shared."""
        return _EncoderLayer(module)


class _EncoderLayer(Evaluation):
    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def prepare(self, arguments: Dict[str, Any]) -> Tensor:
        """Return the projected values [B, N, heads, D], zero in the padding."""
        attention = self._layer.self_attn
        value = attention.value_proj(arguments['query'])
        padding = arguments.get('key_padding_mask')
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        return value.unflatten(-1, (attention.num_heads, -1))

    def evaluate(self, arguments: Dict[str, Any], shared: Optional[Tensor]) -> Tensor:
        assert shared is not None
        layer = self._layer
        query = deformable_attention(
            layer.self_attn,
            arguments['query'],
            shared,
            arguments['reference_points'],
            arguments['spatial_shapes'],
            arguments['level_start_index'],
            arguments.get('query_pos'),
        )
        query = layer.ffn(layer.norms[0](query))
        return layer.norms[1](query)


def deformable_attention(
    attention: nn.Module,
    query: Tensor,
    value: Tensor,
    reference_points: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    query_pos: Optional[Tensor] = None,
) -> Tensor:
    r"""Attend from queries to values that are projected already.

    .. math::
        q' = q + \mathrm{dropout}(W \sum_{l,k} a_{lk} \, v_l(p_l + \Delta p_{lk}))

    Args:
        attention: mmcv's ``MultiScaleDeformableAttention`` with ``batch_first``.
        query: q, [B, Q, C].
        value: v, [B, N, heads, D].
        reference_points: p in shares of a level, [B, Q, levels, 2], or boxes (center
            and size) [B, Q, levels, 4].
        spatial_shapes: Height and width of each level, [levels, 2].
        level_start_index: First of the N tokens of each level, [levels].
        query_pos: Position encoding of the queries, [B, Q, C].

    Returns:
        [B, Q, C].

    Source: Deformable DETR (ICLR 2021), Eq. 3.
    """
    from mmcv.ops import multi_scale_deform_attn as operators

    placed = query if query_pos is None else query + query_pos
    per_head = (attention.num_heads, attention.num_levels, attention.num_points)
    offsets = attention.sampling_offsets(placed).unflatten(-1, (*per_head, 2))
    weights = attention.attention_weights(placed).unflatten(-1, (per_head[0], -1))
    weights = weights.softmax(-1).unflatten(-1, per_head[1:])
    # [B, Q, 1, levels, 1, 2]
    centers = reference_points[:, :, None, :, None, :2]
    if reference_points.shape[-1] == 2:
        size = spatial_shapes.flip(-1)[:, None]  # width and height
        locations = centers + offsets / size
    else:
        extent = reference_points[:, :, None, :, None, 2:]
        locations = centers + offsets / attention.num_points * extent * 0.5
    if value.is_cuda:
        sampled = operators.MultiScaleDeformableAttnFunction.apply(
            value,
            spatial_shapes,
            level_start_index,
            locations,
            weights,
            attention.im2col_step,
        )
    else:
        sampled = operators.multi_scale_deformable_attn_pytorch(
            value, spatial_shapes, locations, weights
        )
    return attention.dropout(attention.output_proj(sampled)) + query
