"""Feature maps of a Video Swin without the norms that mmaction puts behind them."""

from torch import nn


def remove_output_norms(backbone: nn.Module) -> None:
    """Replace ``norm{i}`` of each stage of ``out_indices`` by the identity."""
    for i in backbone.out_indices:
        setattr(backbone, f'norm{i}', nn.Identity())
