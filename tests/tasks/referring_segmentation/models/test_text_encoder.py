"""RoBERTa: random and saved weights, tokens, refusals."""

import pytest
import torch
from mmengine.registry import MODELS

from dr2net_mm.errors import UserError

transformers = pytest.importorskip('transformers')

from dr2net_mm.tasks.referring_segmentation.models import (  # noqa: E402
    RobertaTextEncoder,
)


@pytest.fixture(scope='module')
def config(mttr):
    return mttr.config()['text_encoder']['config']


def test_features_are_those_of_transformers_and_shorter_sentences_are_padded(config):
    encoder = RobertaTextEncoder(config=config)
    encoded = encoder(['a cat', 'a blue bird'])
    assert encoded.features.shape == (2, 13, 16)
    assert encoded.padding.sum(dim=1).tolist() == [6, 0]
    ids = torch.tensor(encoder.tokenizer(['a cat'])['input_ids'])
    alone = encoder.model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(encoded.features[0, :7], alone[0])
    assert encoder.tokenizer.decode(ids[0], skip_special_tokens=True) == 'a cat'


def test_a_saved_model_keeps_its_weights_when_a_detector_is_initialized(
    mttr, config, tmp_path
):
    saved = RobertaTextEncoder(config=config)
    saved.model.save_pretrained(tmp_path)
    saved.tokenizer.save_pretrained(tmp_path)
    model = mttr.build(
        text_encoder=dict(type='RobertaTextEncoder', pretrained=str(tmp_path))
    )
    model.init_weights()
    found, wanted = model.text_encoder.model.state_dict(), saved.model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert torch.equal(
        model.text_encoder(['a cat']).features, saved(['a cat']).features
    )


def test_a_frozen_encoder_is_deterministic_and_has_no_gradients(config):
    encoder = RobertaTextEncoder(config=config).train()
    first, second = (encoder(['a cat']).features for _ in range(2))
    assert torch.equal(first, second) and not first.requires_grad
    # Its outputs can be trained on, which tensors of inference_mode cannot.
    assert not first.is_inference()


def test_dropout_and_training_can_be_turned_on(config):
    encoder = RobertaTextEncoder(config=config, frozen=False, eval_mode=False).train()
    first, second = (encoder(['a cat']).features for _ in range(2))
    assert not torch.equal(first, second) and first.requires_grad
    first.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_an_over_long_sentence_is_one_clear_line(mttr):
    model = mttr.build()
    batch = mttr.batch(model)
    batch['data_samples'][0].set_metainfo(dict(text='very ' * 10))
    with pytest.raises(UserError, match='52 tokens') as error:
        model(**batch, mode='loss')
    assert 'takes 32' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({}, 'give one of them'),
        (dict(pretrained='a', config={}), 'give one of them'),
        (dict(pretrained='/no/such/folder'), 'cannot be loaded'),
        (dict(config=dict(vocab_size=20)), 'has 260 tokens and the text encoder 20'),
        (dict(config={}, tokenizer='/no/such/tokenizer.json'), 'no such file'),
    ],
)
def test_wrong_arguments_are_one_clear_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        MODELS.build(dict(type='RobertaTextEncoder', **arguments))
    assert '\n' not in str(error.value)


def test_the_pooler_that_nothing_uses_does_not_exist(config):
    names = RobertaTextEncoder(config=config).state_dict()
    assert not any('pooler' in name for name in names)
    assert isinstance(
        RobertaTextEncoder(config=config).model, transformers.RobertaModel
    )
