"""A split of a data set in which every kind of sample has the same share."""

from __future__ import annotations

import random
from typing import Hashable, Mapping

from dr2net_mm.errors import DataFileError


def stratified_split(
    kinds: Mapping[str, Hashable], shares: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Draw parts of a data set at random, the same share of every kind.

    A kind of n samples gives ``round(share · n)`` of them to a part. What no part
    draws is left.

    Args:
        kinds: Kind of each sample by its name.
        shares: Share of each part in (0, 1), by the part's name.
        seed: Of the random numbers.

    Returns:
        Sorted names of each part.

    Raises:
        ValueError: If the shares add up to more than 1.
    """
    if sum(shares.values()) > 1:
        raise ValueError(f'shares {dict(shares)} add up to more than 1')
    rng = random.Random(seed)
    parts: dict[str, list[str]] = {part: [] for part in shares}
    by_kind: dict[Hashable, list[str]] = {}
    for name in sorted(kinds):
        by_kind.setdefault(kinds[name], []).append(name)
    for kind in sorted(by_kind, key=repr):
        names = by_kind[kind]
        rng.shuffle(names)
        start = 0.0
        for part, share in shares.items():
            stop = start + share
            parts[part] += names[round(start * len(names)) : round(stop * len(names))]
            start = stop
    return {part: sorted(names) for part, names in parts.items()}


def complete_split(
    names: list[str], stored: Mapping[str, list[str]], rest: str = 'train'
) -> dict[str, list[str]]:
    """Return the stored parts of a data set, and what is left as another part.

    Args:
        names: Of all samples.
        stored: Names by part, as a split file holds them.
        rest: Name of the part that takes what is left.

    Raises:
        DataFileError: If a stored name is none of the data set or is in two parts.
    """
    place: dict[str, str] = {}
    known = set(names)
    for part, members in stored.items():
        for name in members:
            if name not in known:
                raise DataFileError(
                    f'the split has {name} in {part}, which the data set has not: is '
                    'it another version?'
                )
            if name in place:
                raise DataFileError(
                    f'the split has {name} both in {place[name]} and in {part}'
                )
            place[name] = part
    left = [name for name in names if name not in place]
    return {rest: left, **{part: list(members) for part, members in stored.items()}}
