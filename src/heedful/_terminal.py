"""What a terminal is sent: nothing that came from a file steers it, breaks a line or turns the direction of writing."""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, ends of lines and paragraphs, marks of direction, annotations, half characters. Joiners stay: words need them.
_STEERS = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]")


def visible(text: object, keep: str = "") -> str:
    r"""A text whose characters that steer a terminal are written as escapes.

    Args:
        text: what is to be shown.
        keep: the characters that stay.

    Examples:
        >>> print(visible("red\x1b[31m, \u202edesrever, two\nlines"), visible("a\tb", keep="\t"))
        red\x1b[31m, \u202edesrever, two\nlines a	b
    """
    return _STEERS.sub(lambda sign: sign[0] if sign[0] in keep else repr(sign[0])[1:-1], str(text))


def json_line(values: Any) -> str:
    r"""A line of JSON in which such characters are escapes of JSON: a reader gets them back.

    Examples:
        >>> print(json_line({"label": "n\u00e9\u202e"}))
        {"label": "né\u202e"}
    """
    return _STEERS.sub(lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(values, ensure_ascii=False))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within it, warnings and log messages of libraries do not add lines to the output; `python -W` has them back."""
    if sys.warnoptions:
        yield
        return
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def quiet_c() -> Iterator[None]:
    """Within it, libraries in C do not print to standard error, as libtiff does of each damaged strip."""
    try:
        saved = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def working(console: "Console | None", what: str) -> Iterator[None]:
    """On a terminal, what is being done and for how long, until it is done."""
    if console is None or console.quiet or not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        bar.add_task(visible(what), total=None)
        yield
