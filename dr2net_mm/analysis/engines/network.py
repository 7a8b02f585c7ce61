"""A vision transformer of timm whose blocks any reversible engine can run."""

from typing import Any, Callable, List, NamedTuple, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Makes of branches F_1 … F_N a module from x_0 to (x_N + y_N) / 2, both [B, N, C].
StackFactory = Callable[[Sequence[nn.Module]], nn.Module]


class Network(NamedTuple):
    """What the engines are compared on.

    Attributes:
        name: A ViT of timm.
        image_size: Height and width in pixels.
        depth: Blocks.
        batch: Images.
    """

    name: str = 'vit_small_patch16_224'
    image_size: int = 224
    depth: int = 12
    batch: int = 4

    def images(self, seed: int = 0) -> Tensor:
        """Make random images [B, 3, H, W]."""
        generator = torch.Generator().manual_seed(seed)
        shape = (self.batch, 3, self.image_size, self.image_size)
        return torch.randn(shape, generator=generator)

    def build(
        self, factory: StackFactory, seed: int = 0, dropout: float = 0.0
    ) -> 'ReversibleViT':
        """Build the network around an engine; equal seeds give equal weights."""
        from timm.models import create_model

        with torch.random.fork_rng():
            torch.manual_seed(seed)
            vit: Any = create_model(
                self.name,
                img_size=self.image_size,
                depth=self.depth,
                num_classes=0,
                proj_drop_rate=dropout,
            )
            return ReversibleViT(vit, factory).train()


class ReversibleViT(nn.Module):
    """Embedding of a ViT, its branches in a reversible stack, and its last norm.

        x_i = F_i(x_{i-1}) + α·x_{i-1} + β·x_{i-2};   output norm((x_N + x_{N-1}) / 2)

    A branch is attention or MLP of a block, behind its norm. (α, β) = (0, 1) is a
    RevNet, the member that every engine can express.

    Args:
        vit: timm's model, whose modules are taken over.
        factory: Makes the stack.

    Attributes:
        compared: Parameters in an order that no engine changes.
    """

    def __init__(self, vit: Any, factory: StackFactory) -> None:
        super().__init__()
        self.patch_embed = vit.patch_embed
        self.cls_token, self.pos_embed = vit.cls_token, vit.pos_embed
        self.norm = vit.norm
        branches = [branch for block in vit.blocks for branch in block_branches(block)]
        self.stack = factory(branches)
        outside = [self.cls_token, self.pos_embed, *self.patch_embed.parameters()]
        inside = [p for branch in branches for p in branch.parameters()]
        self.compared: List[nn.Parameter] = [*outside, *inside, *self.norm.parameters()]

    def forward(self, images: Tensor) -> Tensor:
        """Compute the tokens [B, N, C] of images [B, 3, H, W]."""
        tokens = self.patch_embed(images)
        token = self.cls_token.expand(len(tokens), -1, -1)
        x = torch.cat([token, tokens], dim=1) + self.pos_embed
        return self.norm(self.stack(x))


def block_branches(block: Any) -> List[nn.Module]:
    """Return attention and MLP of a timm block, each behind its norm."""
    return [
        nn.Sequential(block.norm1, block.attn),
        nn.Sequential(block.norm2, block.mlp),
    ]


class RecordingDropout(nn.Module):
    """Dropout that remembers its masks, one a call.

    Args:
        p: Probability of a zero.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.masks: List[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Compute x with zeros, scaled."""
        mask = F.dropout(torch.ones_like(x), self.p, self.training)
        self.masks.append(mask.detach() != 0)
        return x * mask


def record_dropout(model: nn.Module) -> List[RecordingDropout]:
    """Put a :class:`RecordingDropout` in place of every active dropout."""
    found = []
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout) and child.p > 0:
                setattr(module, name, RecordingDropout(child.p))
                found.append(getattr(module, name))
    return found
