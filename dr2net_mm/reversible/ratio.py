"""The factor of a β-step as a fraction of integers."""

from typing import NamedTuple

from .packing import packed_width


class Ratio(NamedTuple):
    """The factor ``numerator / 2**bits`` of a β-step; a numerator of 0 means none."""

    numerator: int
    bits: int

    @property
    def value(self) -> float:
        """The factor as a float, without rounding."""
        return self.numerator / (1 << self.bits)

    @property
    def is_one(self) -> bool:
        """Whether the step changes nothing and needs no remainder."""
        return self.numerator == 1 << self.bits

    @property
    def remainder_width(self) -> int:
        """Bits in which a remainder is stored."""
        return packed_width(-(-(1 << self.bits) // self.numerator) - 1)
