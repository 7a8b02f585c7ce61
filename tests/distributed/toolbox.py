"""What a test of this folder gets as ``ranks``: tiny models, batches, comparisons."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import MODELS
from torch import Tensor, distributed, nn

import dr2net_mm  # noqa: F401

WORLD_SIZE = 2

BACKBONES = dict(
    swin=dict(
        type='Dr2SwinTransformer',
        embed_dims=8,
        depths=(1, 2),
        num_heads=(1, 2),
        strides=(4, 2),
        out_indices=(0, 1),
        window_size=2,
        drop_path_rate=0.0,
    ),
    swin3d=dict(
        type='Dr2SwinTransformer3D',
        arch=dict(embed_dims=8, depths=(1, 2), num_heads=(1, 2)),
        pretrained2d=False,
        window_size=(2, 2, 2),
        out_indices=(0, 1),
        drop_path_rate=0.0,
    ),
    vit=dict(
        type='Dr2VisionTransformer',
        img_size=16,
        patch_size=8,
        embed_dims=8,
        depth=3,
        num_heads=2,
        num_frames=4,
        init_values=0.5,
    ),
    rev_vit=dict(
        type='RevVisionTransformer',
        arch=dict(embed_dims=8, num_layers=2, num_heads=2),
        img_size=16,
        patch_size=8,
    ),
    rev_mvit=dict(
        type='RevMViT',
        arch=dict(
            embed_dims=8,
            num_layers=3,
            num_heads=1,
            downscale_indices=(1,),
            patch_kernel=(3, 3),
            patch_stride=(4, 4),
            patch_padding=(1, 1),
            pool_kernel=(1, 3, 3),
            kv_stride=(1, 2, 2),
            fuse='concat_mlp',
            qkv_bias=True,
        ),
        img_size=16,
        out_scales=(0, 1),
    ),
    mvit=dict(
        type='Dr2MViT',
        arch=dict(embed_dims=8, num_layers=3, num_heads=1, downscale_indices=[1]),
        spatial_size=16,
        temporal_size=4,
        out_scales=[0, 1],
        output_cls_token=False,
    ),
    timm=dict(
        type='Dr2TimmBackbone',
        model_name='vit_tiny_patch16_224',
        img_size=16,
        patch_size=8,
        embed_dim=8,
        depth=3,
        num_heads=2,
        out_indices=[0, 2],
        output_norm=True,
    ),
)
CHANNELS = dict(vit=(8,), timm=(8, 8), rev_vit=(16,), rev_mvit=(16, 32))
"""Of the outputs, where they are not (8, 16)."""

IMAGES = ('swin', 'rev_vit', 'rev_mvit', 'timm')
"""Backbones whose inputs are no videos."""

Tensors = Dict[str, Optional[Tensor]]


class Regressor(BaseModel):
    """A backbone, linear layers on its means, and mean squared losses.

    Args:
        backbone: Its config.
        channels: Of each of its outputs.
        unused: Whether there are a layer that nothing uses and outputs that the loss
            does not use.
    """

    def __init__(
        self, backbone: dict, channels: Sequence[int] = (8, 16), unused: bool = False
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for width in channels)
        self.last_only = unused
        if unused:
            self.idle = nn.Linear(4, 4)

    def init_weights(self) -> None:
        """Keep the weights that :class:`Ranks` gave."""

    def forward(
        self,
        inputs: Union[Tensor, List[Tensor]],
        data_samples: Union[Tensor, List[Tensor]],
        mode: str = 'loss',
    ) -> Dict[str, Tensor]:
        inputs, wanted = torch.stack(list(inputs)), torch.stack(list(data_samples))
        features = self.backbone(inputs)
        if isinstance(features, Tensor):
            features = [features]
        results = []
        for head, feature in zip(self.heads, features):
            if feature.dim() > 2:
                feature = feature.flatten(2).mean(2)
            results.append(head(feature)[:, 0])
        if self.last_only:
            results = results[-1:]
        return dict(loss=sum((result - wanted).square().mean() for result in results))


class Ranks:
    """What a test may ask for.

    Attributes:
        rank: Number of this process.
        folder: An empty folder that both ranks see.
    """

    def __init__(self, rank: int, folder: Path) -> None:
        self.rank = rank
        self.folder = folder

    def build(self, name: str, unused: bool = False, **changes: Any) -> Regressor:
        """A model with the same weights wherever it is built, none of them zero."""
        channels = CHANNELS.get(name, (8, 16))
        model = Regressor(dict(BACKBONES[name], **changes), channels, unused)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if parameter.dim() == 1:
                    parameter.copy_(noise * 0.1 + 0.5)
                else:
                    parameter.copy_(noise / parameter[0].numel() ** 0.5)
        return model.train()

    def point_clouds(self, backprop: str) -> Any:
        """A Pix4Point whose norms do not see the batch, two clouds and samples."""
        from tests.tasks.point_segmentation.models.toolbox import batch, pix4point

        model = pix4point(dual_residual=dict(backprop=backprop)).train()
        model.decoder.eval()
        return (model, *batch())

    def wrapped(self, model: nn.Module, **options: Any) -> MMDistributedDataParallel:
        """The model as MMEngine distributes it."""
        return MMDistributedDataParallel(model, broadcast_buffers=False, **options)

    def batch(self, name: str, seed: int = 0) -> Dict[str, Tensor]:
        """Inputs and targets of all ranks together, two samples each."""
        generator = torch.Generator().manual_seed(seed)
        shape = (4, 3, 16, 16) if name in IMAGES else (4, 3, 4, 16, 16)
        return dict(
            inputs=torch.randn(shape, generator=generator),
            data_samples=torch.randn(4, generator=generator),
        )

    def part(self, name: str, seed: int = 0) -> Dict[str, Tensor]:
        """What this rank sees of a batch."""
        mine = slice(2 * self.rank, 2 * self.rank + 2)
        return {key: value[mine] for key, value in self.batch(name, seed).items()}

    def gradients(self, model: nn.Module, batch: Dict[str, Tensor]) -> Tensors:
        """Gradients of the loss on a batch."""
        model.zero_grad(set_to_none=True)
        model(**batch, mode='loss')['loss'].backward()
        return self.present_gradients(model)

    def present_gradients(self, model: nn.Module) -> Tensors:
        """Copies of the gradients that are there, by parameter name."""
        return {
            plain(name): None if p.grad is None else p.grad.detach().clone()
            for name, p in model.named_parameters()
        }

    def weights(self, model: nn.Module) -> Tensors:
        """Copies of the parameters, by name."""
        return {plain(n): p.detach().clone() for n, p in model.named_parameters()}

    def gathered(self, value: Any) -> List[Any]:
        """The values of all ranks."""
        values = [None] * WORLD_SIZE
        distributed.all_gather_object(values, value)
        return values

    def assert_same(self, one: Tensors, other: Tensors) -> None:
        """The same tensors to the last bit."""
        assert one.keys() == other.keys()
        for name, value in one.items():
            if value is None or other[name] is None:
                assert value is other[name], name
            else:
                assert torch.equal(value, other[name]), name

    def assert_close(self, one: Tensors, other: Tensors, tolerance=1e-4) -> None:
        """The same tensors up to rounding."""
        assert one.keys() == other.keys()
        for name, value in one.items():
            if value is None or other[name] is None:
                assert value is other[name], name
            else:
                error = float((value - other[name]).abs().max())
                assert error <= tolerance * float(other[name].abs().max()) + 1e-7, name

    def assert_same_everywhere(self, tensors: Tensors) -> None:
        """Every rank has the same bits."""
        for other in self.gathered(tensors):
            self.assert_same(other, tensors)


def plain(name: str) -> str:
    """A parameter's name without what wrappers put into it."""
    return name.replace('_fsdp_wrapped_module.', '').replace('module.', '')
