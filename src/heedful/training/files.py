"""Files that are whole or not there."""

import os
import tempfile
from pathlib import Path

UNFINISHED = ".unfinished"


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place and moves it there: a reader sees the old file or the new one, never a half."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say which file
