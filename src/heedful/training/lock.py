"""A lock on a folder: one training at a time, and who has it."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heedful._errors import RunFolderError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder, and lets no other training into it meanwhile; the lock ends with the process, however that ends.

    On Windows, and on file systems that have no locks, nothing is locked.

    Raises:
        RunFolderError: another process has the lock; or the folder cannot be written.
    """
    file = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _open(file)
    except OSError as error:
        raise RunFolderError(f"{folder}: the run folder cannot be written: {error.strerror}.") from None
    with suppress(OSError):  # a full disk
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {platform.node()}\n".encode())
    try:
        yield
    finally:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        os.close(handle)


def _open(file: Path) -> int:
    """A handle of the lock's file, which has the lock."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise RunFolderError(f"{file.parent}: a training is running in it: {holder}; end it first.") from None
        except OSError:
            pass  # no locks here
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), file.stat()):
                return handle
        os.close(handle)  # the process before has just removed it
