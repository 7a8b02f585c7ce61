"""Memory of Rev-ViT beside its conventional twin, and what tools are told of it."""

import pytest
import torch

from dr2net_mm.analysis.memory.command import backbone_memory
from dr2net_mm.analysis.subjects.backbones import build_backbone, named_backbone
from dr2net_mm.errors import UserError

#: MB an image at 224 x 224 (CVPR 2022, Table 1): of the network and of its reversible
#: twin.
PUBLISHED = {'rev-vit-s': (66.5, 8.8), 'rev-mvit-b': (153.6, 66.8)}


@pytest.mark.parametrize('name', PUBLISHED)
def test_counted_memory_is_of_the_published_order(name):
    batch = 4
    rows = backbone_memory(
        named_backbone(name), 224, batch, modes=('conventional', 'checkpoint', 'dr2')
    )
    plain, checkpoint, ours = (row['peak_bytes'] / batch / 1e6 for row in rows)
    assert 0.8 * PUBLISHED[name][0] < plain < 1.1 * PUBLISHED[name][0]
    # Pieces are made of 32 MB and more: a small batch is not cut as a large one is.
    assert ours < checkpoint < plain / 4
    assert ours < 1.5 * PUBLISHED[name][1]


def test_a_published_network_has_one_shape():
    with pytest.raises(UserError, match='rev-vit-s is a published network'):
        named_backbone('rev-vit-s', depths=[3])


@pytest.mark.parametrize('name', ['vit', 'image_mvit', 'video_mvit'])
def test_the_example_input_is_one_that_the_backbone_takes(rev, name):
    model = rev.build(name).eval()
    x = model.example_input()
    assert x.shape[1:] == rev.input(name).shape[1:]
    assert all(output.isfinite().all() for output in rev.flat(model(x)))


def test_the_twins_of_the_transitions_have_the_shapes_of_their_scales():
    model = build_backbone(dict(named_backbone('rev-mvit-b')))
    model.to('meta')
    assert model(torch.empty(2, 3, 224, 224, device='meta')).shape == (2, 768)
