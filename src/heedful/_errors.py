class HeedfulError(ValueError):
    """Something that the user gave does not fit; the message is one line that says what was expected and what was received."""


class DataError(HeedfulError):
    """A data file does not hold what its format promises; the message begins with the file (and the line or row)."""


class SettingsError(HeedfulError):
    """A setting is unknown or has a value that it cannot have."""


class RunFolderError(HeedfulError):
    """A run folder is incomplete, changed, of a newer version, or cannot be written."""
