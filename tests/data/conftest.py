import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

PNG = Callable[..., bytes]


@pytest.fixture
def png() -> PNG:
    """Makes the bytes of a PNG of one color, 5 pixels high and 7 wide unless told."""

    def make(color: int | tuple[int, ...], height: int = 5, width: int = 7, mode: str = "L") -> bytes:
        content = io.BytesIO()
        Image.new(mode, (width, height), color).save(content, "PNG")
        return content.getvalue()

    return make


@pytest.fixture
def pets(png: PNG) -> dict[str, bytes]:
    """Three cats (one of them in a folder further down) and two dogs; the brightness tells them apart."""
    return {
        "cats/2.png": png(2),
        "cats/10.png": png(10),
        "cats/old/1.png": png(11),
        "dogs/1.png": png(101),
        "dogs/3.png": png(103),
    }


@pytest.fixture
def folder(tmp_path: Path, pets: dict[str, bytes]) -> Path:
    for name, content in pets.items():
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "pets"
