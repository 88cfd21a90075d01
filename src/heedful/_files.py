"""Files that are whole or not there."""

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

UNFINISHED = ".unfinished"  # the suffix of what is being written; a kill leaves it behind
_MODE = 0o644


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a file that may be written, to be asked before the work whose result it will hold.

    Raises:
        FileNotFoundError: its folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "must lie in a folder that exists", str(target))
    return target


def write_atomic(path: str | os.PathLike[str], content: str | bytes | Iterable[bytes]) -> None:
    """Writes a file beside its place and moves it there: a reader sees the old file or the new one, never a half.

    Args:
        path: the file; its folder must exist.
        content: text, which is written in UTF-8; bytes; or chunks of bytes, made one after another while they are written.

    Raises:
        OSError: it cannot be written; the error carries the path, and what stood there stays.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> write_atomic(file, "a line")
        >>> write_atomic(file, [b"two ", b"chunks"])
        >>> file.read_text(), len(list(file.parent.iterdir()))
        ('two chunks', 1)
    """
    if isinstance(content, str):
        content = content.encode("utf-8")
    chunks = (content,) if isinstance(content, bytes) else content
    try:
        target = checked_target(path)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, _MODE)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say which file
