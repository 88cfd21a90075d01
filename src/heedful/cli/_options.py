"""Verbs whose options depend on their first argument: `heedful predict RUN --help` shows the options of that run's task."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from cyclopts import App, Group, Parameter
from pydantic import ValidationError

from heedful._errors import SettingsError
from heedful.training.settings import Section, explained

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def run_command(name: str, command: Callable[..., Any], options: type[Section], words: Sequence[str]) -> None:
    """Runs a command that was made for a task, with the words behind its name.

    Args:
        name: "heedful predict", for the help.
        command: has a parameter `options`, which the section's fields replace.
        options: described by the task.
        words: as they were given.
    """
    app = App(name=name, version_flags=[], default_parameter=Parameter(negative=""), suppress_keyboard_interrupt=False)
    app.default(command)
    try:
        app(list(words), exit_on_error=False, print_error=False, result_action="return_value")
    except Exception as error:
        if isinstance(cause := error.__cause__, ValidationError):
            raise SettingsError(explained(options, {}, cause)) from None
        raise


def parameter_of(section: type[Section], title: str) -> Parameter:
    """What a command's parameter with a default `section()` becomes: an option for each field, under a title."""
    return Parameter(name="*", group=Group(title)) if section.model_fields else Parameter(parse=False)


def read_words(words: Sequence[str], valued: Collection[str]) -> Iterator[tuple[str, str]]:
    """(option, value) of each of the options `valued`, and ("", word) of each word that is no option; others are left out.

    This is enough to find the task, before its options are known.

    Example:
        >>> list(read_words(["--out", "new", "tag", "--data=x", "--resume", "--", "-y"], {"--out", "--data"}))
        [('--out', 'new'), ('', 'tag'), ('--data', 'x'), ('', '-y')]
    """
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--":
            yield from (("", one) for one in rest)
        elif name in valued:
            yield name, value if equals else next(rest, "")
        elif not word.startswith("-"):
            yield "", word


def seconds_of(text: str | None) -> float | None:
    """The value of --time-limit, a time such as 90s, 30m or 2h, in seconds.

    Example:
        >>> seconds_of("30m"), seconds_of("90"), seconds_of(None)
        (1800.0, 90.0, None)
    """
    if text is None:
        return None
    try:
        number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
        if (seconds := float(number) * _UNITS[unit]) > 0:
            return seconds
    except ValueError:
        pass
    raise SettingsError(f"--time-limit must be a time such as 90s, 30m or 2h: got {text!r}.")
