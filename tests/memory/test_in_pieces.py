"""Calls in pieces: random numbers, precision, copies, and what is refused."""

import copy
import pickle

import pytest
import torch
from mmcv.cnn.bricks.transformer import FFN
from mmdet.models.layers import DeformableDetrTransformerEncoder
from torch import nn

from dr2net_mm.memory.call_arguments import slices
from dr2net_mm.memory.cuts import Cut, TokenCut
from dr2net_mm.memory.in_pieces import chosen_parts, restore_parts, run_in_pieces
from dr2net_mm.memory.parts import preset_names, preset_parts
from tests.fixtures.known_models import WIDTH, layers

SHAPE = (3, 7, WIDTH)


class Model(nn.Module):
    def __init__(self, **ffn):
        super().__init__()
        self.ffn = FFN(WIDTH, 32, **ffn)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Sigmoid()])

    def forward(self, x):
        return self.layers[1](self.layers[0](self.ffn(x)))


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(SHAPE, requires_grad=True)


def model_in_pieces(size, choices=('ffn',), **ffn):
    torch.manual_seed(0)
    model = Model(**ffn)
    parts = [part._replace(size=size) for part in chosen_parts(model, choices)]
    run_in_pieces(parts)
    return model


def gradients(model, x, seed=1):
    model.zero_grad(set_to_none=True)
    x.grad = None
    torch.manual_seed(seed)
    model(x).square().sum().backward()
    named = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return dict(named, x=x.grad)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_dropout_of_the_backward_pass_is_that_of_the_forward_pass(x):
    model = model_in_pieces(size=5, ffn_drop=0.5)
    found = gradients(model, x)
    restore_parts(chosen_parts(model, ['ffn']))
    # The same pieces and random numbers with ordinary autograd.
    rows = slices(21, 5)
    plain = model.ffn.forward
    model.ffn.forward = lambda x: torch.cat(
        [plain(x.flatten(0, 1)[piece]) for piece in rows]
    ).unflatten(0, SHAPE[:2])
    assert_close(found, gradients(model, x))
    assert float((found['x'] - gradients(model, x, seed=2)['x']).abs().max()) > 0.1


def test_drop_path_skips_samples_as_wholes():
    drop = dict(type='DropPath', drop_prob=0.5)
    config = layers(num_levels=1, dropout=0.0)
    config.ffn_cfg.dropout_layer = drop
    encoder = DeformableDetrTransformerEncoder(num_layers=1, layer_cfg=config)
    model = nn.ModuleDict(dict(encoder=encoder)).train()
    run_in_pieces([part._replace(size=2) for part in preset_parts(model, 'encoder')])
    ffn = encoder.layers[0].ffn
    seen = []
    ffn.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    query = torch.randn(4, 6, WIDTH, requires_grad=True)
    encoder(
        query=query,
        query_pos=query,
        key_padding_mask=None,
        spatial_shapes=torch.tensor([[2, 3]]),
        level_start_index=torch.tensor([0]),
        valid_ratios=torch.ones(4, 1, 2),
    ).sum().backward()
    assert seen == [(1, 6, WIDTH)] * 8


def test_random_numbers_afterwards_are_as_if_nothing_had_been_recomputed(x):
    model = model_in_pieces(size=5, ffn_drop=0.5)
    gradients(model, x)
    after = torch.rand(3)
    torch.manual_seed(1)
    model(x)
    assert torch.equal(after, torch.rand(3))


def test_mixed_precision_is_that_of_the_forward_pass(x):
    found, expected = [], []
    for results, size in ((found, 5), (expected, 1000)):
        model = model_in_pieces(size)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            output = model(x)
        assert output.dtype == torch.bfloat16
        output.float().square().sum().backward()
        results += [p.grad for p in model.ffn.parameters()]
        assert all(grad.dtype == torch.float32 for grad in results)
    model = Model()
    model.load_state_dict(model_in_pieces(5).state_dict())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        model(x).float().square().sum().backward()
    for one, whole, plain in zip(found, expected, model.ffn.parameters()):
        assert torch.equal(whole, plain.grad)
        assert float((one - whole).norm() / whole.norm()) < 0.02


def test_evaluation_and_passes_without_gradients_are_ordinary(x):
    model = model_in_pieces(size=5)
    seen = []
    model.ffn.layers[0].register_forward_hook(lambda m, a, out: seen.append(out.shape))
    with torch.no_grad():
        model(x)
    model.eval()
    model(x)
    assert seen == [(*SHAPE[:2], 32)] * 2


def test_only_the_arguments_are_kept_and_a_piece_at_a_time(x):
    model, kept = model_in_pieces(size=5), []

    def keep(tensor):
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.ffn(x)
    parameters = [p.shape for p in model.ffn.parameters()]
    assert kept == [(21, WIDTH), *parameters]


def test_a_copy_computes_with_its_own_weights_and_can_be_pickled(x):
    model = model_in_pieces(size=5)
    expected = gradients(model, x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(other.state_dict()) == list(model.state_dict())
        assert_close(gradients(other, x), expected)
        with torch.no_grad():
            other.ffn.layers[0][0].weight.zero_()
        assert float(gradients(other, x)['ffn.layers.1.weight'].abs().max()) < 10
    assert_close(gradients(model, x), expected)


def test_frozen_parameters_and_inputs_without_gradients_get_none(x):
    model = model_in_pieces(size=5)
    model.ffn.layers[0].requires_grad_(False)
    model(x.detach()).square().sum().backward()
    found = {name for name, p in model.ffn.named_parameters() if p.grad is not None}
    assert found == {'layers.1.weight', 'layers.1.bias'}


def test_hooks_of_a_parameter_see_its_whole_gradient_once(x):
    model, seen = model_in_pieces(size=5), []
    model.ffn.layers[1].bias.register_hook(lambda grad: seen.append(grad.clone()))
    found = gradients(model, x)
    assert len(seen) == 1
    assert torch.equal(seen[0], found['ffn.layers.1.bias'])


def test_a_second_backward_and_changed_parameters_are_errors(x):
    model = model_in_pieces(size=5)
    loss = model(x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match='backward through the graph a second time'):
        loss.backward()
    loss = model(x).sum()
    with torch.no_grad():
        model.ffn.layers[1].weight.add_(1)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        loss.backward()


def test_no_samples_and_small_automatic_calls_run_as_usual():
    model = model_in_pieces(size='auto')
    assert model(torch.randn(2, 3, WIDTH)).grad_fn is not None
    model = model_in_pieces(size=5)
    assert model(torch.randn(0, 7, WIDTH)).shape == (0, 7, WIDTH)


def test_a_module_of_ones_own_is_cut_by_the_arguments_that_are_named(x):
    choice = dict(module='attention', samples=['query', 'key', 'value'], size=1)
    model = model_in_pieces(1, [choice])
    found = model.attention(x, x, x, need_weights=False)[0]
    restore_parts(chosen_parts(model, [choice]))
    torch.testing.assert_close(found, model.attention(x, x, x, need_weights=False)[0])


@pytest.mark.parametrize(
    ('choice', 'message'),
    [
        ('attention', 'attention cannot run in pieces: nothing is known of Multihead'),
        ('norm', r'norm cannot run in pieces: .*modules=\[\.\.\.\]'),
        (dict(module='norm', samples=['input']), 'whole batch'),
        (dict(module='ffn', sample=['x']), r"\['sample'\]; accepted: samples, tokens"),
        (dict(module='ffn', shared=['x']), 'samples among them'),
        ('fnn', "Model has no module 'fnn'; nearest: ffn"),
    ],
)
def test_what_cannot_be_cut_is_refused_in_one_line(choice, message):
    with pytest.raises(ValueError, match=message) as caught:
        run_in_pieces(chosen_parts(Model(), [choice]))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('cut', 'arguments', 'message'),
    [
        (Cut(['query']), 3, 'does not know: key, value; name them in samples or in'),
        (Cut(['query', 'key'], shared=['value']), 2, 'key of shape .* accepted: .3, '),
        (Cut(['mask'], shared=['query', 'key', 'value']), 3, 'without a tensor that'),
    ],
)
def test_calls_that_do_not_fit_their_cut_are_refused(x, cut, arguments, message):
    model = Model()
    others = x if arguments == 3 else x[:2]
    with pytest.raises(ValueError, match=message):
        cut.run(model.attention, (x, others, others), {}, 1)


def test_an_output_that_does_not_begin_with_the_samples_is_refused(x):
    class Sum(nn.Module):
        def forward(self, x):
            return x.sum()

    with pytest.raises(ValueError, match='Sum.forward turned 1 samples into an output'):
        Cut(['x']).run(Sum(), (x,), {}, 1)


def test_layers_that_mix_tokens_are_named():
    reason = TokenCut().refusal(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(2, 2, 3)))
    assert reason == '1 is a Conv1d, which is not known to treat each token by itself'
    assert 'skips whole samples' in TokenCut().refusal(
        FFN(WIDTH, 32, dropout_layer=dict(type='DropPath', drop_prob=0.1))
    )


@pytest.mark.parametrize(
    ('preset', 'message'),
    [
        ('deocder', "preset 'deocder' is unknown; accepted: auto, neck, "),
        ([], r'preset \[\] is unknown'),
        (3, 'preset 3 is unknown'),
    ],
)
def test_an_unknown_preset_is_answered_with_those_there_are(preset, message):
    with pytest.raises(ValueError, match=message):
        preset_names(preset)


def test_a_preset_that_finds_nothing_says_what_there_is():
    with pytest.raises(ValueError, match="'neck' finds no part in Model .* none that"):
        preset_parts(Model(), 'neck')


def test_a_forward_replaced_by_someone_else_is_not_overridden():
    model = Model()
    model.ffn.forward = lambda x: x
    with pytest.raises(ValueError, match='ffn has been replaced already'):
        run_in_pieces(chosen_parts(model, ['ffn']))


@pytest.mark.parametrize(('total', 'size'), [(1, 1), (7, 3), (8, 3), (9, 3), (2, 5)])
def test_slices_cover_everything_in_order_and_are_even(total, size):
    sizes = [piece.stop - piece.start for piece in slices(total, size)]
    assert sum(sizes) == total and max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
