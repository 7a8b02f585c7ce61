"""RoBERTa of HuggingFace ``transformers`` as the text encoder of a video model."""

import os
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from dr2net_mm.errors import UserError

from .byte_tokenizer import byte_tokenizer
from .sentence_limit import SentenceLimit, positions

# Loader processes are forked after the tokenizer has been used.
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')


class EncodedText(NamedTuple):
    """Sentences as a text encoder returns them.

    Attributes:
        features: [B, S, C].
        padding: bool [B, S], True where a sentence has ended.
    """

    features: Tensor
    padding: Tensor


@MODELS.register_module(force=True)
class RobertaTextEncoder(BaseModule):
    """RoBERTa without pooling, and its tokenizer; ``transformers`` 4 and 5.

    Args:
        pretrained: Name on HuggingFace's hub or folder of a pretrained model with its
            tokenizer. None for random weights.
        config: Arguments of ``RobertaConfig`` for random weights.
        tokenizer: Folder, name or ``tokenizer.json`` of a tokenizer. By default that of
            ``pretrained``; where there is none, every byte is a token.
        frozen: Whether the weights stay as they are. No gradients are computed then.
        eval_mode: Whether dropout is off in training too. MTTR's authors leave it on in
            a frozen encoder; off (chosen) makes its outputs reproducible.

    Raises:
        UserError: If the model or the tokenizer cannot be loaded, or both or neither of
            ``pretrained`` and ``config`` are given.

    Source: MTTR (CVPR 2022), ``models/multimodal_transformer.py``.
    """

    def __init__(
        self,
        pretrained: Optional[str] = None,
        config: Optional[Dict[str, Any]] = None,
        tokenizer: Optional[str] = None,
        frozen: bool = True,
        eval_mode: bool = True,
    ) -> None:
        super().__init__()
        if (pretrained is None) == (config is None):
            raise UserError(
                f'RobertaTextEncoder has pretrained={pretrained!r} and '
                f'config={config!r}; give one of them: the name or folder of a '
                'pretrained RoBERTa, or the RobertaConfig of a random one'
            )
        source = tokenizer or pretrained
        self.tokenizer = byte_tokenizer() if source is None else load_tokenizer(source)
        if pretrained is not None:
            self.model = load_roberta(pretrained)
        else:
            self.model = RobertaModel(
                RobertaConfig(**{'vocab_size': len(self.tokenizer), **(config or {})}),
                add_pooling_layer=False,
            )
        self.frozen, self.eval_mode = frozen, eval_mode
        if len(self.tokenizer) > self.model.config.vocab_size:
            raise UserError(
                f'the tokenizer {source!r} has {len(self.tokenizer)} tokens and '
                f'the text encoder {self.model.config.vocab_size}; set vocab_size of '
                'its config to the number of tokens'
            )
        if frozen:
            self.model.requires_grad_(False)
        self.train()

    @property
    def embed_dims(self) -> int:
        """Channels of the features."""
        return self.model.config.hidden_size

    @property
    def max_tokens(self) -> int:
        """Longest sentence in tokens, its first and last one included."""
        return positions(self.model.config)

    def init_weights(self) -> None:
        """Leave the weights as they are; those of a file are loaded already."""

    def train(self, mode: bool = True) -> 'RobertaTextEncoder':
        """Set the mode, except of an encoder that stays in eval mode."""
        super().train(mode)
        if self.eval_mode:
            self.model.eval()
        return self

    def forward(self, sentences: Sequence[str]) -> EncodedText:
        """Encode sentences.

        Args:
            sentences: B texts.

        Raises:
            UserError: If one has more tokens than the encoder has positions.
        """
        self.check_lengths(sentences)
        tokens = self.tokenizer(list(sentences), padding=True, return_tensors='pt')
        device = next(self.model.parameters()).device
        ids, mask = tokens['input_ids'].to(device), tokens['attention_mask'].to(device)
        # Not inference_mode, whose tensors no later layer can train on.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            outputs = self.model(input_ids=ids, attention_mask=mask)
        return EncodedText(outputs.last_hidden_state, mask == 0)

    def check_lengths(self, sentences: Sequence[str]) -> None:
        """Refuse sentences that are too long for the encoder.

        Raises:
            UserError: Naming the first one.
        """
        problem = SentenceLimit(self.tokenizer, self.max_tokens).problem(sentences)
        if problem:
            raise UserError(problem)


def sentence_limit(
    pretrained: Optional[str] = None,
    config: Optional[Dict[str, Any]] = None,
    tokenizer: Optional[str] = None,
    **_: Any,
) -> SentenceLimit:
    """Return how long a sentence may be for an encoder, without loading its weights.

    Args:
        pretrained: As of :class:`RobertaTextEncoder`.
        config: Likewise.
        tokenizer: Likewise.

    Raises:
        UserError: If the tokenizer or the config cannot be loaded.
    """
    source = tokenizer or pretrained
    found = byte_tokenizer() if source is None else load_tokenizer(source)
    if pretrained is None:
        return SentenceLimit(found, positions(RobertaConfig(**(config or {}))))
    try:
        return SentenceLimit(found, positions(AutoConfig.from_pretrained(pretrained)))
    except (OSError, ValueError) as error:
        raise UserError(_not_loaded('text encoder', pretrained, error)) from None


def load_roberta(source: str) -> RobertaModel:
    """Load pretrained weights from a folder or from HuggingFace's hub.

    Raises:
        UserError: If there are none.
    """
    try:
        return RobertaModel.from_pretrained(source, add_pooling_layer=False)
    except (OSError, ValueError) as error:
        raise UserError(_not_loaded('text encoder', source, error)) from None


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a ``tokenizer.json``, a folder or HuggingFace's hub.

    Raises:
        UserError: If there is none.
    """
    try:
        if source.endswith('.json'):
            if not Path(source).is_file():
                raise OSError('no such file')
            return PreTrainedTokenizerFast(
                tokenizer_file=source, pad_token='<pad>', unk_token='<unk>'
            )
        return AutoTokenizer.from_pretrained(source)
    # The tokenizers library raises bare Exceptions for a damaged file.
    except Exception as error:
        raise UserError(_not_loaded('tokenizer', source, error)) from None


def _not_loaded(what: str, source: str, error: Exception) -> str:
    reason = ' '.join(str(error).split())[:120]
    return (
        f'the {what} {source!r} cannot be loaded ({reason}); without a network fetch '
        'it elsewhere ("hf download roberta-base --local-dir roberta-base") and name '
        'the folder'
    )
