"""What the tests of the models share: narrow Swins and the blocks of their parents."""

from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import pytest
import torch
from mmdet.models.backbones import SwinTransformer
from torch import Tensor, nn

from dr2net_mm.backbones import (
    Dr2SwinTransformer,
    Dr2SwinTransformer3D,
    Dr2VisionTransformer,
)

# Behind dr2net_mm, which cures the import.
from mmaction.models.backbones.swin import (  # isort: skip
    SwinTransformer3D,
    compute_mask,
    get_window_size,
)
from mmaction.models.backbones.vit_mae import VisionTransformer  # isort: skip

ResidualFunction = Callable[[Tensor], Tensor]
StageFunction = Callable[[Tensor, Sequence[ResidualFunction]], Tensor]


class Step(NamedTuple):
    """Feature maps, and gradients by parameter name and for the ``image``."""

    outputs: List[Tensor]
    gradients: Dict[str, Optional[Tensor]]


def with_weights(model: nn.Module, weights: Optional[nn.Module]) -> nn.Module:
    """The model with the weights of another one that has them, where there is one."""
    if weights is not None:
        state = weights.state_dict()
        model.load_state_dict({key: state[key] for key in model.state_dict()})
    return model


class SwinTools:
    """Narrow Swins with random weights that no symmetry makes easy."""

    def arguments(self, **changes) -> dict:
        narrow = dict(
            embed_dims=16,
            num_heads=(1, 2, 4, 8),
            depths=(2, 2, 2, 2),
            window_size=7,
            drop_path_rate=0.0,
        )
        return {**narrow, **changes}

    def build(self, seed: int = 0, **changes) -> Dr2SwinTransformer:
        return self.randomize(Dr2SwinTransformer(**self.arguments(**changes)), seed)

    def plain(self, weights: Optional[nn.Module] = None, **changes) -> SwinTransformer:
        """mmdet's backbone, with the weights of another one where there is one."""
        model = self.randomize(SwinTransformer(**self.arguments(**changes)))
        return with_weights(model, weights)

    def randomize(self, model: nn.Module, seed: int = 0) -> nn.Module:
        """Every parameter away from zero: bias tables, norms and biases too."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if 'bias_table' in name or 'pos_embed' in name:
                    parameter.copy_(noise * 0.5)
                elif parameter.dim() == 1:
                    parameter.copy_(noise * 0.1 + (name.endswith('weight')))
                else:
                    fan_in = parameter[0].numel()
                    parameter.copy_(noise / fan_in**0.5)
        return model

    def image(self, height: int = 96, width: int = 80, batch: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(height * 1000 + width)
        return torch.randn(batch, 3, height, width, generator=generator)

    def step(
        self, forward: Callable[[Tensor], Sequence[Tensor]], model, image: Tensor
    ) -> Step:
        """One forward and backward pass, from the same random state every time."""
        model.zero_grad(set_to_none=True)
        image = image.detach().clone().requires_grad_()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            outputs = forward(image)
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        generator = torch.Generator().manual_seed(11)
        loss = 0.0
        for output in outputs:
            weight = torch.randn(output.shape, generator=generator)
            loss = loss + (output * weight.to(output.dtype)).mean()
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        gradients['image'] = image.grad
        return Step([output.detach() for output in outputs], gradients)

    def assert_bitwise_equal(self, one: Step, other: Step) -> None:
        assert one.gradients.keys() == other.gradients.keys()
        assert len(one.outputs) == len(other.outputs)
        for a, b in zip(one.outputs, other.outputs):
            assert torch.equal(a, b)
        for name, gradient in one.gradients.items():
            if gradient is None or other.gradients[name] is None:
                assert gradient is other.gradients[name], name
            else:
                assert torch.equal(gradient, other.gradients[name]), name

    def relative_error(self, one: Step, other: Step) -> float:
        """Norm of the difference of all gradients over the norm of ``other``'s."""
        difference = reference = 0.0
        for name, gradient in other.gradients.items():
            mine = one.gradients[name].double()
            difference += float((mine - gradient.double()).square().sum())
            reference += float(gradient.double().square().sum())
        return (difference / reference) ** 0.5

    def by_hand(
        self, model: SwinTransformer, image: Tensor, run_stage: StageFunction
    ) -> List[Tensor]:
        """The backbone on mmdet's own modules, its stages run by ``run_stage``.

        Nothing of dr2net_mm is called: a block's two residual functions are its
        attention behind norm1, and its feed-forward network behind norm2 without
        the identity that mmcv adds.
        """
        x, size = model.patch_embed(image)
        if model.use_abs_pos_embed:
            x = x + model.absolute_pos_embed
        x = model.drop_after_pos(x)
        outputs = []
        for i, stage in enumerate(model.stages):
            functions: List[ResidualFunction] = []
            for block in stage.blocks:
                functions += [
                    lambda x, block=block, size=size: block.attn(block.norm1(x), size),
                    lambda x, block=block: block.ffn(
                        block.norm2(x), identity=torch.zeros_like(x)
                    ),
                ]
            x = run_stage(x, functions)
            if i in model.out_indices:
                normed = getattr(model, f'norm{i}')(x)
                maps = normed.view(len(x), *size, model.num_features[i])
                outputs.append(maps.permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x, size = stage.downsample(x, size)
        return outputs

    def family(
        self,
        alpha: float,
        beta: float,
        transform: Callable[[Tensor], Tensor] = lambda x: x,
        fusion: str = 'last',
    ) -> StageFunction:
        """The equations of a stage, one line each; ``transform`` sees every x_i."""

        def run_stage(x: Tensor, functions: Sequence[ResidualFunction]) -> Tensor:
            x = transform(x)
            y = beta * x
            for function in functions:
                x, y = transform(function(x) + alpha * x + y), beta * x
            return x if fusion == 'last' else (x + y) / 2

        return run_stage


class VideoSwinTools(SwinTools):
    """The same for Video Swins."""

    def arguments(self, **changes) -> dict:
        depths = changes.pop('depths', (2, 2, 2))
        heads = (1, 2, 4, 8)[: len(depths)]
        narrow = dict(
            arch=dict(embed_dims=16, depths=depths, num_heads=heads),
            pretrained2d=False,
            window_size=(4, 3, 3),
            drop_path_rate=0.0,
            out_indices=(0, len(depths) - 1),
        )
        return {**narrow, **changes}

    def build(self, seed: int = 0, **changes) -> Dr2SwinTransformer3D:
        return self.randomize(Dr2SwinTransformer3D(**self.arguments(**changes)), seed)

    def plain(
        self, weights: Optional[nn.Module] = None, **changes
    ) -> SwinTransformer3D:
        """mmaction's backbone, with the weights of another one where there is one."""
        model = self.randomize(SwinTransformer3D(**self.arguments(**changes)))
        return with_weights(model, weights)

    def video(
        self, frames: int = 12, height: int = 36, width: int = 28, batch: int = 1
    ) -> Tensor:
        generator = torch.Generator().manual_seed(frames * height * width)
        return torch.randn(batch, 3, frames, height, width, generator=generator)

    def by_hand(
        self, model: SwinTransformer3D, image: Tensor, run_stage: StageFunction
    ) -> List[Tensor]:
        """The backbone on mmaction's own modules, its stages run by ``run_stage``."""
        x = model.pos_drop(model.patch_embed(image)).permute(0, 2, 3, 4, 1)
        outputs = []
        for i, layer in enumerate(model.layers):
            size = x.shape[1:4]
            window, shift = get_window_size(size, layer.window_size, layer.shift_size)
            padded = [-(-length // w) * w for length, w in zip(size, window)]
            mask = compute_mask(*padded, window, shift, x.device)
            functions: List[ResidualFunction] = []
            for block in layer.blocks:
                functions += [
                    lambda x, block=block, mask=mask.to(x.dtype): block.drop_path(
                        block.forward_part1(x, mask)
                    ),
                    block.forward_part2,
                ]
            x = run_stage(x, functions)
            if i in model.out_indices:
                outputs.append(getattr(model, f'norm{i}')(x).permute(0, 4, 1, 2, 3))
            if layer.downsample is not None:
                x = layer.downsample(x)
        return outputs


class VitTools(VideoSwinTools):
    """The same for VideoMAE's Vision Transformers."""

    def arguments(self, **changes) -> dict:
        narrow = dict(
            img_size=32,
            patch_size=8,
            embed_dims=16,
            depth=3,
            num_heads=2,
            num_frames=6,
            drop_path_rate=0.0,
        )
        return {**narrow, **changes}

    def build(self, seed: int = 0, **changes) -> Dr2VisionTransformer:
        return self.randomize(Dr2VisionTransformer(**self.arguments(**changes)), seed)

    def plain(
        self, weights: Optional[nn.Module] = None, **changes
    ) -> VisionTransformer:
        """mmaction's backbone, with the weights of another one where there is one."""
        model = self.randomize(VisionTransformer(**self.arguments(**changes)))
        return with_weights(model, weights)

    def video(
        self, frames: int = 6, height: int = 32, width: int = 32, batch: int = 2
    ) -> Tensor:
        return super().video(frames, height, width, batch)

    def by_hand(
        self, model: VisionTransformer, image: Tensor, run_stage: StageFunction
    ) -> Tensor:
        """The mean of the tokens, on mmaction's own modules, run by ``run_stage``."""
        functions: List[ResidualFunction] = []
        for block in model.blocks:
            gains = [getattr(block, name, 1.0) for name in ('gamma_1', 'gamma_2')]
            functions += [
                lambda x, block=block, gain=gains[0]: block.drop_path(
                    gain * block.attn(block.norm1(x))
                ),
                lambda x, block=block, gain=gains[1]: block.drop_path(
                    gain * block.mlp(block.norm2(x))
                ),
            ]
        x = model.pos_drop(model.patch_embed(image)[0] + model.pos_embed)
        return model.fc_norm(run_stage(x, functions).mean(1))


@pytest.fixture(scope='session')
def vit() -> VitTools:
    return VitTools()


@pytest.fixture(scope='session')
def video_swin() -> VideoSwinTools:
    return VideoSwinTools()


@pytest.fixture(scope='session')
def swin() -> SwinTools:
    return SwinTools()
