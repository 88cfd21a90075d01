"""Paths on the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from heedful._files import user_path


def _path(_: Any, tokens: Sequence[Any]) -> Path:
    return user_path(tokens[0].value)


UserPath = Annotated[Path, Parameter(converter=_path)]
