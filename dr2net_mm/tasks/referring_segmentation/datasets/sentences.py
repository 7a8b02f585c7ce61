"""Sentences as the data sets give them to a text encoder."""


def normalized(text: str) -> str:
    """Return a sentence in lower case, with single spaces."""
    return ' '.join(text.lower().split())
