"""LoRA: frozen linear layers, each with a trained product of two thin matrices."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RANK = 8


class LoraLinear(nn.Linear):
    """A frozen linear layer with a trained update of low rank.

        y = x Wᵀ + b + (α / r) · (x Aᵀ) Bᵀ,   A: [r, in], B: [out, r], α = r

    B begins with zeros, so that the network begins as it was. Without the dropout of
    the original. Source: LoRA (Hu et al., ICLR 2022).

    Args:
        linear: The layer, whose weight and bias are taken over and frozen.
        rank: r.
    """

    def __init__(self, linear: nn.Linear, rank: int = RANK) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = linear.weight.requires_grad_(False)
        self.bias = linear.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.lora_a = nn.Parameter(self.weight.new_empty(rank, self.in_features))
        self.lora_b = nn.Parameter(self.weight.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Compute y of [..., out] from x of [..., in]."""
        update = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return F.linear(x, self.weight, self.bias) + update


def add_lora(model: nn.Module, rank: int = RANK) -> nn.Module:
    """Freeze a model and give every linear layer in it a LoRA, in place."""
    model.requires_grad_(False)
    with torch.random.fork_rng():
        for module in list(model.modules()):
            # Attention of torch uses the weight of its projection without calling it.
            if isinstance(module, (LoraLinear, nn.MultiheadAttention)):
                continue
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and not isinstance(child, LoraLinear):
                    setattr(module, name, LoraLinear(child, rank))
    return model
