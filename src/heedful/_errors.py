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


class OutOfMemoryError(MemoryError, HeedfulError):
    """There is less memory than is asked for; the message says what would need less."""


class SettingsError(HeedfulError):
    """A setting is unknown or has a value that it cannot have."""


class RunFolderError(HeedfulError):
    """A run folder is incomplete, changed, of a newer version, or cannot be written."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left: Python's own, or one of PyTorch's."""
    words = ("can't allocate memory", "out of memory", "not enough memory")  # of a CPU, of a GPU, on Windows
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Where there is not enough memory within it, an OutOfMemoryError says what would need less."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"there is not enough memory: {advice}.") from None


@contextmanager
def caught_panics() -> Iterator[None]:
    """A panic of a library's Rust code, which is no Exception, is a RuntimeError within it."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ != "PanicException":
            raise
        raise RuntimeError(str(error).splitlines()[0] if str(error) else "the library panicked") from None


@contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Imports that fail within it are a MissingPackageError, which names the extra of heedful that brings the package."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"{what} needs `pip install 'heedful[{extra}]'`: the package {error.name} is missing.", name=error.name
        ) from None
