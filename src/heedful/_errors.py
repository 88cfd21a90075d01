from collections.abc import Iterator
from contextlib import contextmanager


class HeedfulError(ValueError):
    """Something that the user gave does not fit; the message is one line that says what was expected and what was received."""


class DataError(HeedfulError):
    """A data file does not hold what its format promises; the message begins with the file (and the line or row)."""


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
