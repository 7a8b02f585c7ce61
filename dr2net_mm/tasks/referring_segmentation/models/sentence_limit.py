"""How long a sentence may be for a text encoder, known without its weights."""

from typing import NamedTuple, Optional, Sequence

from transformers import PretrainedConfig, PreTrainedTokenizerBase


class SentenceLimit(NamedTuple):
    """A tokenizer, and how many tokens a text encoder takes.

    Attributes:
        tokenizer: Of the text encoder.
        max_tokens: Longest sentence, its first and last token included.
    """

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    def problem(self, sentences: Sequence[str]) -> Optional[str]:
        """Describe the first sentence that is too long; None if all fit."""
        if not sentences:
            return None
        for sentence, ids in zip(
            sentences, self.tokenizer(list(sentences))['input_ids']
        ):
            if len(ids) > self.max_tokens:
                return (
                    f'the sentence {sentence[:40]!r}… has {len(ids)} tokens; the text '
                    f'encoder takes {self.max_tokens}. Shorten or drop it'
                )
        return None


def positions(config: PretrainedConfig) -> int:
    """Return how many tokens a RoBERTa takes."""
    # RoBERTa's positions begin behind that of padding.
    return config.max_position_embeddings - (config.pad_token_id or 0) - 1
