import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class HeedfulError(ValueError):
    """Something that the user gave does not fit; the message is one line that says what was expected and what was received."""


class DataError(HeedfulError):
    """A data file does not hold what its format promises; the message begins with the file (and the line or row).

    Attributes:
        before: what stands before it in the same source, where that could be read: an input of the same kind.
    """

    before: Any = None


class Terminated(SystemExit):
    """A signal asked this process to end; the exit status is 128 and the signal's number, as a shell has it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


class MissingPackageError(ModuleNotFoundError, HeedfulError):
    """A package that only some work needs is not installed; the message says which extra brings it."""


class SettingsError(HeedfulError):
    """A setting is unknown or has a value that it cannot have."""


class RunFolderError(HeedfulError):
    """A run folder is incomplete, changed, of a newer version, or cannot be written."""


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Imports that fail within it are a MissingPackageError, which names the extra of heedful that brings the package."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{what} needs `pip install 'heedful[{extra}]'`: the package {error.name} is missing.", name=error.name
        ) from None
