"""Rev-MViT is the published network of two streams and transitions."""

import pytest
import torch
import torch.nn.functional as F

from dr2net_mm.backbones import RevMViT


def pooled(x, attn, which, size):
    """Tokens [B, heads, N, C] behind a pooling of ``attn``, and their grid."""
    pool, norm = getattr(attn, f'pool_{which}'), getattr(attn, f'norm_{which}')
    parts = [pool(head.transpose(1, 2).unflatten(2, size)) for head in x.unbind(1)]
    tokens = torch.stack([part.flatten(2).transpose(1, 2) for part in parts], 1)
    return norm(tokens), tuple(parts[0].shape[2:])


def attention(attn, x, size):
    q, k, v = (
        part.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
        for part in attn.qkv(x).chunk(3, -1)
    )
    k, v = pooled(k, attn, 'k', size)[0], pooled(v, attn, 'v', size)[0]
    if hasattr(attn, 'pool_q'):
        q, size = pooled(q, attn, 'q', size)
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return attn.proj((weights @ v).transpose(1, 2).flatten(2)), size


def mlp(layers, x):
    return layers.fc2(F.gelu(layers.fc1(x)))


def by_hand(model, x):
    """The published equations of the whole network, written without the engine."""
    tokens = model.patch_embed.projection(x)
    size = (1, *tokens.shape[2:])[-3:]
    tokens = tokens.flatten(2).transpose(1, 2)
    if x.dim() == 5:
        space, time = model.pos_embed_spatial, model.pos_embed_temporal
        tokens = tokens + (time.unsqueeze(2) + space.unsqueeze(1)).flatten(1, 2)
    else:
        tokens = tokens + model.pos_embed
    first = second = tokens
    outputs = []
    for block in model.blocks:
        if not hasattr(block.attn, 'pool_q'):
            first = first + attention(block.attn, block.norm1(second), size)[0]
            second = second + mlp(block.mlp, block.norm2(first))
            continue
        outputs.append((torch.cat((first, second), -1), size))
        z = (first + second) / 2
        if hasattr(block, 'fuse'):
            z = outputs[-1][0]
            z = z + mlp(block.fuse, z)
        wide = block.res_proj(z) if hasattr(block, 'res_proj') else z
        wide = wide.unflatten(-1, (block.attn.num_heads, -1)).transpose(1, 2)
        wide = pooled(wide, block.attn, 'q', size)[0].transpose(1, 2).flatten(2)
        mixed, size = attention(block.attn, block.norm1(z), size)
        z = wide + mixed
        first = second = z + mlp(block.mlp, block.norm2(z))
    outputs.append((torch.cat((first, second), -1), size))
    return [
        getattr(model, f'norm{scale}')(tokens)
        .transpose(1, 2)
        .unflatten(2, size if x.dim() == 5 else size[1:])
        for scale, (tokens, size) in enumerate(outputs)
    ]


@pytest.mark.parametrize('name', ['image_mvit', 'video_mvit'])
@pytest.mark.parametrize('arithmetic', ['float', 'exact'])
def test_it_is_the_network_written_by_hand(rev, name, arithmetic):
    model = rev.build(name, dual_residual=dict(arithmetic=arithmetic)).eval()
    x = rev.input(name)
    found, wanted = model(x), by_hand(model, x)
    assert [f.shape for f in found] == [w.shape for w in wanted]
    tolerance = 2e-5 if arithmetic == 'float' else 2e-3
    for one, other in zip(found, wanted):
        assert (one - other).abs().max() < tolerance


@pytest.mark.parametrize(
    ('arch', 'classes', 'parameters'),
    [('image-base', 1000, 39689320), ('video-base', 400, 34963120)],
)
def test_the_published_networks_have_the_published_sizes(arch, classes, parameters):
    with torch.device('meta'):
        model = RevMViT(arch)
        head = torch.nn.Linear(1536, classes)
    found = sum(p.numel() for m in (model, head) for p in m.parameters())
    assert found == parameters


def test_keys_and_values_have_the_published_strides():
    for arch, strides in (('image-base', (4, 2, 1, 1)), ('video-base', (8, 4, 2, 1))):
        with torch.device('meta'):
            model = RevMViT(arch)
        found = [model.blocks[i].attn.pool_k.stride for i in (0, 1, 3, 14)]
        assert found == [(1, stride, stride) for stride in strides]
        for i in (2, 13, 15):
            before = max(j for j in (1, 3, 14) if j < i)
            assert model.blocks[i].attn.pool_v.stride == (
                model.blocks[before].attn.pool_v.stride
            )


def test_one_scale_is_a_tensor_and_several_are_a_tuple(rev):
    x = rev.input('image_mvit')
    model = rev.image_mvit(out_scales=-1).eval()
    last = model(x)
    assert isinstance(last, torch.Tensor)
    assert last.shape == (2, 64, 2, 2)
    several = rev.image_mvit(out_scales=(0, -1), out_type='avg_featmap').eval()
    several.load_state_dict(model.state_dict(), strict=False)
    means = several(x)
    assert [m.shape for m in means] == [(2, 16), (2, 64)]
    assert torch.allclose(means[1], last.flatten(2).mean(2), atol=1e-5)


def test_blocks_behind_the_last_scale_are_left_out(rev):
    model = rev.image_mvit(out_scales=[0])
    found = rev.gradients(model, rev.input('image_mvit'))
    used = {name for name, gradient in found.items() if gradient is not None}
    assert {name.split('.')[1] for name in used if name.startswith('blocks.')} == {'0'}


def test_images_of_another_size_have_interpolated_positions(rev):
    maps = rev.image_mvit().eval()(torch.randn(1, 3, 45, 64))
    assert [tuple(m.shape[2:]) for m in maps] == [(12, 16), (6, 8), (3, 4)]


def test_a_dropped_sample_keeps_its_residual_path_in_a_transition(rev):
    block = rev.image_mvit(drop_path_rate=0.9).blocks[3].train()
    x, size = torch.randn(64, 16, 32), (1, 4, 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block.drop_path.drop_prob = 0.9
        out = block(x, size)
    assert out.flatten(1).any(1).all()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='base'), "one of .*'image-base'.* got 'base'"),
        (dict(arch=dict(embed_dims=8)), "needs .*'kv_stride'.* got"),
        (dict(fuse='max'), "one of .*'concat_mlp'.* got 'max'"),
        (dict(downscale_indices=(1, 2)), 'leave a scale without a reversible block'),
        (dict(out_scales=(3,)), r'scales 0 to 2 .* got out_scales=\[3\]'),
        (dict(out_scales=()), r'got out_scales=\[\]'),
        (dict(out_type='raw'), "'featmap'.* got 'raw'"),
        (dict(dual_residual=dict(fusion='concat')), "'concat_yx'.* got 'concat'"),
    ],
)
def test_unusable_arguments_are_refused(rev, changes, message):
    inner = {key: changes[key] for key in changes if key in rev.image_arch}
    outer = {key: changes[key] for key in changes if key not in inner}
    if inner:
        outer['arch'] = dict(rev.image_arch, **inner)
    with pytest.raises(ValueError, match=message):
        rev.image_mvit(**outer)


@pytest.mark.parametrize(
    ('name', 'shape', 'message'),
    [
        ('image_mvit', (2, 3, 4, 32, 32), r'takes inputs \[B, 3, H, W\], got shape'),
        ('video_mvit', (2, 3, 32, 32), r'takes inputs \[B, 3, T, H, W\], got shape'),
        ('video_mvit', (2, 3, 8, 32, 32), 'for 4 frames, got 8; build it with'),
        ('image_mvit', (2, 3, 0, 32), 'found no patch in an input of'),
    ],
)
def test_inputs_that_do_not_fit_are_refused(rev, name, shape, message):
    with pytest.raises(ValueError, match=message):
        rev.build(name)(torch.zeros(shape))
