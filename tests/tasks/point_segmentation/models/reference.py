"""Pix4Point written again from its published description, channels first, in numpy and
float64: sampling and neighbors by sorting, layers by their formulas."""

import math
from typing import Dict, List

import numpy as np

Weights = Dict[str, np.ndarray]


def farthest(p: np.ndarray, count: int) -> List[int]:
    chosen = [0]
    while len(chosen) < count:
        gaps = [min(float(((a - p[c]) ** 2).sum()) for c in chosen) for a in p]
        # The first of the largest.
        chosen.append(gaps.index(max(gaps)))
    return chosen


def nearest(query: np.ndarray, p: np.ndarray, count: int) -> List[int]:
    gaps = [(float(((a - query) ** 2).sum()), i) for i, a in enumerate(p)]
    return [i for _, i in sorted(gaps)[:count]]


def spread(values: np.ndarray, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Values [C, M] of a coarse cloud [M, 3] at a fine one [N, 3]: [C, N]."""
    columns = []
    for point in fine:
        index = nearest(point, coarse, 3)
        weight = np.array([1 / (math.dist(point, coarse[i]) + 1e-8) for i in index])
        columns.append(values[:, index] @ (weight / weight.sum()))
    return np.stack(columns, axis=1)


def conv(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    kernel = w[f'{name}.weight'].reshape(len(w[f'{name}.weight']), -1)
    out = np.tensordot(kernel, x, axes=1)
    bias = w.get(f'{name}.bias')
    return out if bias is None else out + bias.reshape(-1, *[1] * (x.ndim - 1))


def layer_norm(w: Weights, name: str, x: np.ndarray, eps: float) -> np.ndarray:
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + eps)
    shape = (-1, *[1] * (x.ndim - 1))
    return x * w[f'{name}.weight'].reshape(shape) + w[f'{name}.bias'].reshape(shape)


def batch_norm(w: Weights, name: str, clouds: np.ndarray, training: bool):
    """Clouds [B, C, N]."""
    mean, var = clouds.mean((0, 2)), clouds.var((0, 2))
    if not training:
        mean, var = w[f'{name}.running_mean'], w[f'{name}.running_var']
    out = (clouds - mean[:, None]) / np.sqrt(var[:, None] + 1e-5)
    return out * w[f'{name}.weight'][:, None] + w[f'{name}.bias'][:, None]


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def embed(w: Weights, p: np.ndarray, f: np.ndarray, ratios, k: int):
    """Levels of positions [M, 3] and features [C, M]."""
    levels = [(p, f)]
    for i, ratio in enumerate(ratios):
        centers = farthest(p, len(p) // ratio)
        name = f'patch_embed.convs.{i}'
        columns = []
        for c in centers:
            index = nearest(p[c], p, k)
            edge = np.concatenate(
                [(p[index] - p[c]).T, f[:, index] - f[:, [c]]], axis=0
            )
            h = conv(w, f'{name}.0.0.0', edge)
            h = relu(layer_norm(w, f'{name}.0.0.1', h, 1e-5))
            h = conv(w, f'{name}.0.1.0', h)
            shared = np.repeat(h.max(1, keepdims=True), k, axis=1)
            h = np.concatenate([shared, h], axis=0)
            for j in (0, 1):
                h = conv(w, f'{name}.1.{j}.0', h)
                h = relu(layer_norm(w, f'{name}.1.{j}.1', h, 1e-5))
            columns.append(h.max(1))
        p, f = p[centers], np.stack(columns, axis=1)
        levels.append((p, f))
    return levels


def attention(w: Weights, name: str, x: np.ndarray, heads: int) -> np.ndarray:
    """Attention of tokens [N, C]."""
    q, k, v = np.split(conv(w, f'{name}.qkv', x.T).T, 3, axis=1)
    outs = []
    for a, b, c in zip(*(np.split(t, heads, axis=1) for t in (q, k, v))):
        logits = a @ b.T / math.sqrt(a.shape[1])
        weight = np.exp(logits - logits.max(1, keepdims=True))
        outs.append(weight / weight.sum(1, keepdims=True) @ c)
    return conv(w, f'{name}.proj', np.concatenate(outs, axis=1).T).T


def branches(w: Weights, i: int, heads: int):
    """Attention and feed-forward of a block, without residual connections."""
    name = f'blocks.{i}'

    def attend(x):
        normed = layer_norm(w, f'{name}.norm1', x.T, 1e-6).T
        return attention(w, f'{name}.attn', normed, heads)

    def feed(x):
        h = layer_norm(w, f'{name}.norm2', x.T, 1e-6)
        return conv(w, f'{name}.mlp.fc2', gelu(conv(w, f'{name}.mlp.fc1', h))).T

    return attend, feed


def tokens_of(w: Weights, levels, depth: int, heads: int, alpha=1.0, beta=0.0):
    """Tokens behind the norm, [1 + M, C], of two streams; and x_{N-1}, without it."""
    p, f = levels[-1]
    h = gelu(conv(w, 'pos_embed.0.0', p.T))
    e = np.concatenate([w['cls_pos'][0], conv(w, 'pos_embed.1', h).T])
    x = np.concatenate([w['cls_token'][0], f.T])
    y = beta * x
    for i in range(depth):
        attend, feed = branches(w, i, heads)
        x, y = attend(x + e) + alpha * (x + e) + y, beta * x
        before = x
        x, y = feed(x) + alpha * x + y, beta * x
    return x, before


def norm_of(w: Weights, x: np.ndarray) -> np.ndarray:
    return layer_norm(w, 'norm', x.T, 1e-6).T


def below(w: Weights, prefix: str) -> Weights:
    return {n[len(prefix) :]: v for n, v in w.items() if n.startswith(prefix)}


def logits(
    w: Weights, points, ratios, k, depth, heads, alpha=1.0, beta=0.0, training=False
):
    """Logits [B, N, classes] of points [B, N, 7], without dropout."""
    enc, clouds = below(w, 'encoder.'), []
    for cloud in points:
        levels = embed(enc, cloud[:, :3], cloud.T, ratios, k)
        x, _ = tokens_of(enc, levels, depth, heads, alpha, beta)
        clouds.append((levels, norm_of(enc, x)))
    f = np.stack([tokens[1:].T for _, tokens in clouds])
    for i in reversed(range(len(ratios))):
        fine = np.stack(
            [
                np.concatenate(
                    [levels[i][1], spread(g, levels[i][0], levels[i + 1][0])]
                )
                for (levels, _), g in zip(clouds, f)
            ]
        )
        for j in (0, 1):
            name = f'decoder.decoder.{i}.0.convs.{j}'
            fine = np.stack([conv(w, f'{name}.0', cloud) for cloud in fine])
            fine = relu(batch_norm(w, f'{name}.1', fine, training))
        f = fine
    out = []
    for (_, tokens), cloud in zip(clouds, f):
        n = cloud.shape[1]
        shared = np.concatenate([tokens[0], cloud.max(1)])
        joined = np.concatenate([np.repeat(shared[:, None], n, axis=1), cloud])
        h = conv(w, 'head.head.0.0', joined)
        h = relu(layer_norm(w, 'head.head.0.1', h, 1e-5))
        out.append(conv(w, 'head.head.2.0', h).T)
    return np.stack(out)
