"""Errors that name what is wrong with the input and what to do about it."""


class UserError(Exception):
    """Input that cannot be used; the message names it and the remedy."""


class DataFileError(UserError):
    """An image, video or annotation file that cannot be read."""


class NonFiniteError(UserError):
    """A loss or a weight that is NaN or infinite."""


class StoppedBySignal(Exception):
    """A run has saved its state and stopped because a signal asked for it.

    Args:
        signal_number: The signal.
        message: Where the run stopped and how to go on.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """Exit code of a process that the signal ended, as shells give it."""
        return 128 + self.signal_number
