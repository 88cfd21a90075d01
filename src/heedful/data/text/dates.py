"""Dates as people write them in many languages, and as ISO 8601 has them: data that needs no file.

What each language does with a date comes from Unicode's Common Locale Data Repository (CLDR), through Babel.
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from random import Random
from typing import Literal, NamedTuple

from heedful._errors import needing
from heedful.data.text.parallel import ParallelTexts

__all__ = ["FORMATS", "HELD_OUT", "LOCALES", "DateExample", "date_examples", "dates"]

DateSplit = Literal["train", "valid", "test"]

# Of Latin letters, then of others.
LOCALES = (
    *("en_US", "en_GB", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl", "cs", "fi", "hu", "tr", "vi", "id"),
    *("el", "ru", "uk", "he", "hi", "ja", "zh", "ko"),
)

# Names of CLDR: four styles, and skeletons, which say what is shown and leave the rest to the language.
FORMATS = ("short", "medium", "long", "full", "yMd", "yMMMd", "yMEd", "yMMMEd")

# For testing only. The names, the order and the signs of each are met in other formats of its locale.
HELD_OUT = {
    "en_US": "yMMMEd",
    "en_GB": "medium",
    "de": "long",
    "fr": "long",
    "es": "yMMMEd",
    "nl": "medium",
    "pt": "medium",
    "da": "yMEd",
    "pl": "yMMMEd",
    "hu": "long",
    "tr": "long",
    "el": "short",
    "ru": "medium",
    "uk": "yMEd",
    "he": "yMMMEd",
    "hi": "long",
    "ja": "yMEd",
    "ko": "yMMMEd",
    "vi": "short",
    "id": "yMd",
}

_COUNTS = {"train": 30_000, "valid": 500, "test": 1_000}

# A hundred years, so that two digits tell the year.
_FIRST, _LAST = date(1950, 1, 1), date(2049, 12, 31)

# The fields of CLDR's patterns that are numbers: how each is written, and how it may be read.
_NUMBERS = {
    "d": ("{day.day}", r"(?P<day>\d\d?)"),
    "dd": ("{day.day:02}", r"(?P<day>\d\d?)"),
    "M": ("{day.month}", r"(?P<month>\d\d?)"),
    "MM": ("{day.month:02}", r"(?P<month>\d\d?)"),
    "y": ("{day.year}", r"(?P<year>\d{4})"),
    "yy": ("{year:02}", r"(?P<year>\d\d)"),
}


class DateExample(NamedTuple):
    """A date as it is written somewhere; `locale` and `format` are names of CLDR."""

    text: str
    iso: str
    locale: str
    format: str


class _DatePattern(NamedTuple):
    """One way to write dates."""

    locale: str
    format: str
    template: str
    months: tuple[str, ...]  # none where they are numbers
    weekdays: tuple[str, ...]
    reader: re.Pattern[str]

    def write(self, day: date) -> str:
        month = self.months[day.month - 1] if self.months else ""
        weekday = self.weekdays[day.weekday()] if self.weekdays else ""
        return self.template.format(day=day, year=day.year % 100, month=month, weekday=weekday)

    def read(self, text: str) -> date | None:
        found = self.reader.fullmatch(text)
        if found is None:
            return None
        month = self.months.index(found["name"]) + 1 if self.months else int(found["month"])
        year = int(found["year"])
        if len(found["year"]) == 2:
            year += 1900 if year >= _FIRST.year % 100 else 2000
        try:
            return date(year, month, int(found["day"]))
        except ValueError:
            return None


def dates(split: DateSplit, count: int | None = None, seed: int = 0) -> ParallelTexts:
    """Dates as people write them, to be turned into ISO dates: `date_examples` as pairs of texts.

    Examples:
        >>> pairs = dates("train", 3)
        >>> len(pairs), all(len(target) == len("2021-03-04") for target in pairs.targets)
        (3, True)
    """
    rows = date_examples(split, count, seed)
    return ParallelTexts(
        [row.text for row in rows], [row.iso for row in rows], [f"dates:{split}[{n}]" for n in range(len(rows))]
    )


def date_examples(split: DateSplit, count: int | None = None, seed: int = 0) -> list[DateExample]:
    """Dates from 1950 to 2049 in 25 locales and up to 8 formats, all equally likely.

    An input has one output. Years of two digits are 1950 to 2049. Where a text could mean another date as well, in
    whatever locale and format, it begins with its own locale: "en_US: 3/4/2021", but "3/14/2021" and "4 mars 2021"
    alone. Zeros in front and weekdays count for nothing there: "Thu, 3/4/2021" is not clear without a calendar.

    The splits share no day: every tenth day is for "valid", every tenth for "test", the others are for "train". Those
    of "test" are written in `HELD_OUT` alone, pairs of locale and format of which the others have none: German is
    known, and the long format, but no long German date. Nothing in them is new but how it goes together. Those of
    "valid" are written as those of "train".

    Args:
        split: which dates.
        count: how many; 30,000, 500 and 1,000 unless told.
        seed: draws others. The same seed draws the same from the same release of CLDR.

    Raises:
        MissingPackageError: the package for it is not installed.
        ValueError: `count` is not positive.

    Examples:
        >>> row = date_examples("test", 1)[0]
        >>> HELD_OUT[row.locale] == row.format
        True
    """
    count = _COUNTS[split] if count is None else count
    if count < 1:
        raise ValueError(f"`count` must be at least 1: got {count}.")
    forms = [form for form in _patterns() if (HELD_OUT.get(form.locale) == form.format) == (split == "test")]
    share = {"valid": (0,), "test": (1,), "train": range(2, 10)}[split]
    every = (_FIRST + timedelta(number) for number in range((_LAST - _FIRST).days + 1))
    days = [day for day in every if day.toordinal() % 10 in share]
    random = Random(f"{split} {seed}")
    return [_example(random.choice(forms), random.choice(days)) for _ in range(count)]


def _example(form: _DatePattern, day: date) -> DateExample:
    text = form.write(day)
    if any(reading != day for reading in _readings(text)):
        text = f"{form.locale}: {text}"
    return DateExample(text, day.isoformat(), form.locale, form.format)


def _readings(text: str) -> Iterator[date]:
    """Every date that a text can mean, in any locale."""
    for form in _readers(re.sub(r"\d", "0", text)):
        day = form.read(text)
        if day is not None:
            yield day


@cache
def _readers(text: str) -> list[_DatePattern]:
    """The forms that a text with these letters and signs may have, whatever its digits."""
    return [form for form in _patterns() if form.reader.fullmatch(text)]


@cache
def _patterns() -> list[_DatePattern]:
    """All ways to write a date, each once in a locale."""
    with needing("dates", "the data set `dates`"):
        from babel import Locale
    forms: dict[tuple[object, ...], _DatePattern] = {}
    for name in LOCALES:
        locale = Locale.parse(name)
        for style in FORMATS:
            patterns = locale.date_formats if style in locale.date_formats else locale.datetime_skeletons
            form = _pattern(name, style, patterns[style].pattern)
            forms.setdefault((name, form.template, form.months, form.weekdays), form)
    return list(forms.values())


def _pattern(locale: str, style: str, pattern: str) -> _DatePattern:
    from babel.dates import tokenize_pattern

    template, reader = "", ""
    months: tuple[str, ...] = ()
    weekdays: tuple[str, ...] = ()
    for _, token in tokenize_pattern(pattern):
        field = token if isinstance(token, str) else token[0] * token[1]
        if isinstance(token, str):
            written = _plain(token)
            read = re.escape(written)
        elif field in _NUMBERS:
            written, read = _NUMBERS[field]
        elif field[0] in "ML":
            months = _names(locale, field, [date(2001, month, 1) for month in range(1, 13)])
            written, read = "{month}", f"(?P<name>{'|'.join(map(re.escape, months))})"
            if all(name == months[0].replace("1", str(month)) for month, name in enumerate(months, start=1)):
                written, read = (months[0].replace("1", number) for number in _NUMBERS["M"])
                months = ()
        else:
            assert field[0] in "Ec", f"{locale} {style} has a field that is not known here: {field}"
            weekdays = _names(locale, field, [date(2001, 1, day) for day in range(1, 8)])  # from a Monday on
            names = [re.sub(r"\d", r"\\d", re.escape(name)) for name in weekdays]  # `_readers` ignores digits
            written, read = "{weekday}", f"(?:{'|'.join(names)})"
        template, reader = template + written, reader + read
    return _DatePattern(locale, style, template, months, weekdays, re.compile(reader))


def _names(locale: str, field: str, days: list[date]) -> tuple[str, ...]:
    from babel.dates import format_date

    return tuple(_plain(format_date(day, field, locale)) for day in days)


def _plain(text: str) -> str:
    """With the blanks that a keyboard has."""
    return re.sub(r"\s", " ", text)
