"""A file that appears whole or not at all."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def target_of(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a file that may be written.

    Raises:
        FileNotFoundError: its folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"`path` must lie in a folder that exists: got {str(target)!r}")
    return target


def write_whole(target: Path, pieces: Iterable[bytes]) -> None:
    """Writes a file piece by piece; one that stands there is replaced when all of it is on the disk."""
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
