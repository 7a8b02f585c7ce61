"""Errors that the reversible engine raises."""


class ReversibleError(RuntimeError):
    """Base class of what can go wrong inside a reversible stage."""


class FixedPointOverflowError(ReversibleError):
    """A stream left the range of the fixed-point numbers, or was not finite."""


class ReconstructionError(ReversibleError):
    """A reconstructed stream is not the one that the forward pass had."""


class TapeError(ReversibleError):
    """The backward pass does not match the forward pass that it belongs to."""
