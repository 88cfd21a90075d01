from collections.abc import Callable
from pathlib import Path

import pytest

from heedful._errors import DataError

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a small file and gives its path."""

    def make(content: str | bytes, name: str = "data.txt") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return make


@pytest.fixture
def assert_read_or_refused() -> Callable[[Callable[[], object], str], None]:
    """Any other exception than a `DataError` of one line that begins with the source is a mistake."""

    def check(read: Callable[[], object], source: str) -> None:
        try:
            read()
        except DataError as error:
            message = str(error)
        else:
            message = source
        assert message.startswith(source)
        assert "\n" not in message

    return check
