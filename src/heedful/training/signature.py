"""Which run folders this user made: they are signed with a key that never leaves the user's home folder."""

import hashlib
import hmac
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

_SIZE = 32  # bytes
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def key_file() -> Path:
    """Where the key is: `$XDG_STATE_HOME/heedful/key`, or `~/.local/state/heedful/key`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "heedful" / "key"


def signature(values: object) -> str:
    """The signature of a JSON value by this user; "" where no key can be kept."""
    key = _key()
    content = json.dumps(values, sort_keys=True).encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest() if key else ""


def signed_here(values: object, given: str) -> bool:
    """Whether this user signed a JSON value."""
    own = signature(values)
    return bool(own) and hmac.compare_digest(own.encode(), given.encode("utf-8", "replace"))


def _key() -> bytes:
    """The key, which is made where there is none."""
    with suppress(OSError, RuntimeError):  # no home folder, or one that cannot be written
        file = key_file()
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), os.fdopen(os.open(file, _NEW, 0o600), "wb") as opened:
                opened.write(secrets.token_bytes(_SIZE))
        key = file.read_bytes()
        return key if len(key) == _SIZE else b""
    return b""
