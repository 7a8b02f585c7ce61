"""The original VideoMAE network by hand: its weights by name, and its forward."""

from typing import Dict, Optional

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Dict[str, Tensor]


class OriginalVideoMae:
    """A tiny network: frames of 8 pixels, patches of 4, clips of 4 frames."""

    dims, heads, depth, classes = 24, 3, 2, 5
    img_size, num_frames = 8, 4
    positions = 2 * 2 * 2

    def clip(self, batch: int = 2) -> Tensor:
        generator = torch.Generator().manual_seed(5)
        shape = (batch, 3, self.num_frames, self.img_size, self.img_size)
        return torch.randn(shape, generator=generator)

    def encoder(self, layer_scale=False, learned=False, qkv_bias=True) -> Weights:
        """Embedding and blocks by the names of ``modeling_finetune.py``."""
        dims, hidden = self.dims, 4 * self.dims
        shapes = {
            'patch_embed.proj.weight': (dims, 3, 2, 4, 4),
            'patch_embed.proj.bias': (dims,),
        }
        if learned:
            shapes['pos_embed'] = (1, self.positions, dims)
        for i in range(self.depth):
            block = {
                'norm1.weight': (dims,),
                'norm1.bias': (dims,),
                'attn.qkv.weight': (3 * dims, dims),
                'attn.proj.weight': (dims, dims),
                'attn.proj.bias': (dims,),
                'norm2.weight': (dims,),
                'norm2.bias': (dims,),
                'mlp.fc1.weight': (hidden, dims),
                'mlp.fc1.bias': (hidden,),
                'mlp.fc2.weight': (dims, hidden),
                'mlp.fc2.bias': (dims,),
            }
            if qkv_bias:
                block.update({'attn.q_bias': (dims,), 'attn.v_bias': (dims,)})
            if layer_scale:
                block.update({'gamma_1': (dims,), 'gamma_2': (dims,)})
            shapes.update({f'blocks.{i}.{name}': s for name, s in block.items()})
        return self._random(shapes)

    def finetuned(self, **options) -> Weights:
        tail = {
            'fc_norm.weight': (self.dims,),
            'fc_norm.bias': (self.dims,),
            'head.weight': (self.classes, self.dims),
            'head.bias': (self.classes,),
        }
        return {**self.encoder(**options), **self._random(tail)}

    def pretrained(self) -> Weights:
        """Names of ``modeling_pretrain.py``."""
        norm = {'norm.weight': (self.dims,), 'norm.bias': (self.dims,)}
        encoder = {**self.encoder(), **self._random(norm)}
        weights = {f'encoder.{name}': value for name, value in encoder.items()}
        decoder = {
            'decoder.blocks.0.attn.qkv.weight': (36, 12),
            'decoder.norm.weight': (12,),
            'decoder.head.weight': (96, 12),
            'encoder_to_decoder.weight': (12, self.dims),
            'mask_token': (1, 1, 12),
        }
        return {**weights, **self._random(decoder)}

    def tokens(self, weights: Weights, clip: Tensor) -> Tensor:
        """What comes out of the last block, [B, N, C]."""
        proj = weights['patch_embed.proj.weight']
        x = F.conv3d(clip, proj, weights['patch_embed.proj.bias'], stride=(2, 4, 4))
        x = x.flatten(2).transpose(1, 2)
        x = x + weights.get('pos_embed', self.sincos(x.shape[1]))
        for i in range(self.depth):
            w = {
                name[len(f'blocks.{i}.') :]: value
                for name, value in weights.items()
                if name.startswith(f'blocks.{i}.')
            }
            attended = self._attention(w, self._norm(w, 'norm1', x))
            x = x + w.get('gamma_1', 1.0) * attended
            hidden = F.linear(
                self._norm(w, 'norm2', x), w['mlp.fc1.weight'], w['mlp.fc1.bias']
            )
            fed = F.linear(F.gelu(hidden), w['mlp.fc2.weight'], w['mlp.fc2.bias'])
            x = x + w.get('gamma_2', 1.0) * fed
        return x

    def logits(self, weights: Weights, clip: Tensor) -> Tensor:
        pooled = self._norm(weights, 'fc_norm', self.tokens(weights, clip).mean(1))
        return F.linear(pooled, weights['head.weight'], weights['head.bias'])

    def normed_tokens(self, weights: Weights, clip: Tensor) -> Tensor:
        """Tokens behind ``norm``, as pretraining has them."""
        return self._norm(weights, 'norm', self.tokens(weights, clip))

    def sincos(self, positions: int) -> Tensor:
        table = np.zeros((positions, self.dims))
        for position in range(positions):
            for channel in range(self.dims):
                angle = position / 10000 ** (2 * (channel // 2) / self.dims)
                odd = channel % 2
                table[position, channel] = np.cos(angle) if odd else np.sin(angle)
        return torch.tensor(table, dtype=torch.float32)[None]

    def _attention(self, w: Weights, x: Tensor) -> Tensor:
        batch, count, dims = x.shape
        bias: Optional[Tensor] = None
        if 'attn.q_bias' in w:
            parts = [w['attn.q_bias'], torch.zeros(dims), w['attn.v_bias']]
            bias = torch.cat(parts)
        qkv = F.linear(x, w['attn.qkv.weight'], bias)
        q, k, v = (
            part.view(batch, count, self.heads, -1).transpose(1, 2)
            for part in qkv.chunk(3, -1)
        )
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        out = (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, count, dims)
        return F.linear(out, w['attn.proj.weight'], w['attn.proj.bias'])

    def _norm(self, w: Weights, name: str, x: Tensor) -> Tensor:
        weight, bias = w[f'{name}.weight'], w[f'{name}.bias']
        return F.layer_norm(x, (self.dims,), weight, bias, eps=1e-6)

    def _random(self, shapes: Dict[str, tuple]) -> Weights:
        generator = torch.Generator().manual_seed(len(shapes))
        weights = {}
        for name, shape in shapes.items():
            noise = torch.randn(shape, generator=generator)
            if len(shape) == 1:
                ones = name.endswith('weight') or 'gamma' in name
                weights[name] = 0.1 * noise + float(ones)
            else:
                weights[name] = noise / max(noise[0].numel(), 1) ** 0.5
        return weights

    def backbone(self, **changes) -> dict:
        """Arguments of mmaction's class for these weights."""
        arguments = dict(
            type='VisionTransformer',
            img_size=self.img_size,
            patch_size=4,
            embed_dims=self.dims,
            depth=self.depth,
            num_heads=self.heads,
            num_frames=self.num_frames,
        )
        return {**arguments, **changes}

    def recognizer(self, **changes) -> dict:
        head = dict(
            type='TimeSformerHead', num_classes=self.classes, in_channels=self.dims
        )
        return dict(
            type='Recognizer3D', backbone=self.backbone(**changes), cls_head=head
        )


@pytest.fixture(scope='session')
def videomae() -> OriginalVideoMae:
    return OriginalVideoMae()


@pytest.fixture(scope='session')
def build():
    """Builds a model of mmaction's registry, in evaluation mode."""
    from mmaction.utils import register_all_modules
    from mmengine.registry import MODELS, init_default_scope

    import dr2net_mm  # noqa: F401

    register_all_modules()

    def make(cfg: dict) -> torch.nn.Module:
        init_default_scope('mmaction')
        return MODELS.build(cfg).eval()

    return make


@pytest.fixture(scope='session')
def load():
    """Loads weights; one that is missing or unexpected is an error."""

    def into(model: torch.nn.Module, weights: Weights) -> torch.nn.Module:
        model.load_state_dict(weights, strict=True)
        return model

    return into
