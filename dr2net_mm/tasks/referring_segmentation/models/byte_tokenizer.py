"""Tokenizers without a vocabulary file: of bytes, or made of some sentences."""

from typing import Sequence

from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import RobertaProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

# In RoBERTa's order, with its numbers.
SPECIAL_TOKENS = ('<s>', '<pad>', '</s>', '<unk>')


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Make RoBERTa's tokenizer without its merges, 256 bytes and 4 special tokens."""
    alphabet = [*SPECIAL_TOKENS, *sorted(ByteLevel.alphabet())]
    vocabulary = {token: number for number, token in enumerate(alphabet)}
    tokenizer = Tokenizer(BPE(vocabulary, merges=[], unk_token='<unk>'))
    return roberta_style(tokenizer)


def trained_tokenizer(
    sentences: Sequence[str], tokens: int = 600
) -> PreTrainedTokenizerFast:
    """Make a tokenizer in RoBERTa's style of some sentences.

    Args:
        sentences: What it is made of.
        tokens: Most tokens of its vocabulary, 260 of which are bytes and special ones.
    """
    tokenizer = Tokenizer(BPE(unk_token='<unk>'))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=tokens,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return roberta_style(tokenizer)


def roberta_style(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Give a byte-level tokenizer RoBERTa's beginning, end and padding.

    Args:
        tokenizer: Has :data:`SPECIAL_TOKENS` in its vocabulary.
    """
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    numbers = tokenizer.get_vocab()
    first, last = ((token, numbers[token]) for token in ('<s>', '</s>'))
    tokenizer.post_processor = RobertaProcessing(last, first, add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token='<s>',
        eos_token='</s>',
        pad_token='<pad>',
        unk_token='<unk>',
    )
