"""Files that are whole or not there."""

import errno
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any

from heedful._errors import HeedfulError

UNFINISHED = ".unfinished"  # the suffix of what is being written; a kill leaves it behind
_MODE = 0o644


def convert(raw: bytes) -> str:
    r"""What to do with bytes that should be UTF-8 and are not.

    Examples:
        >>> convert("10 \u20ac, se\u00f1or".encode("windows-1252"))
        'convert it, e.g. with iconv -f windows-1252 -t utf-8'
    """
    zeros, odd = raw.count(0), raw[1::2].count(0)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif 3 * zeros > len(raw) > 3:
        encoding = "utf-16le" if 2 * odd > zeros else "utf-16be"
    elif not raw.decode("utf-8", "ignore").isascii():
        return "all else in it is, so that it may be damaged there"
    else:
        runs = re.findall(rb"[\x80-\xff]+", raw)  # where an alphabet is Latin, they are short and few
        few = max(map(len, runs), default=0) < 3 and sum(map(len, runs)) <= max(len(raw) // 2, 2)
        if not few or re.search(rb"[\x81\x8d\x8f\x90\x9d]", raw):
            return "convert it with iconv -f ENCODING -t utf-8 (windows-1251, shift_jis, gb18030, euc-kr or another)"
        encoding = "windows-1252"
    return f"convert it, e.g. with iconv -f {encoding} -t utf-8"


def user_path(path: str | os.PathLike[str]) -> Path:
    """The path that a person typed: `~` is the home folder, also where the shell leaves it, as in `--out=~/runs`.

    Raises:
        HeedfulError: it is empty, as a variable that was not set.
    """
    if not os.fspath(path):
        raise HeedfulError("a path must not be empty: got ''.")
    return Path(os.path.expanduser(path))


def checked_target(path: str | os.PathLike[str]) -> Path:
    """Returns the path of a file that may be written, to be asked before the work whose result it will hold.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: it is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "must be a file, not a folder", str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "must lie in a folder that exists", str(target))
    return target


def write_atomic(
    path: str | os.PathLike[str], content: str | bytes | Iterable[bytes], *, keep: Path | None = None
) -> None:
    """Writes a file beside its place and moves it there: a reader sees the old file or the new one, never a half.

    A symbolic link stays, and the file that it names is written. A device or a pipe is written into.

    Args:
        path: the file; its folder must exist.
        content: text, which is written in UTF-8; bytes; or chunks of bytes, made one after another while they are written.
        keep: where the old file is moved to, just before.

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
        if target.exists() and not target.is_file():
            with target.open("wb") as device:
                device.writelines(chunks)
            return
        target = Path(os.path.realpath(target))
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, _MODE)
            if keep is not None and target.exists():
                os.replace(target, keep)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk does not say which file


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Opens a file to read it; a pipe or a device, which may never end, is an error and is not waited for.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "must be a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_limited(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `max_bytes`.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"must have at most {max_bytes:,} bytes", str(path))
    return content


def read_json(path: str | os.PathLike[str], max_bytes: int) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: as of `read_limited`.
        ValueError: it is no JSON, is nested too deeply, or has a number with too many digits; the message is one line.
    """
    content = read_limited(path, max_bytes)
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(str(error).partition(";")[0]) from None


def checksum(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a regular file, which is read by pieces.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
