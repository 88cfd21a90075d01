import re
import sys
from collections import defaultdict
from datetime import date
from functools import cache

import pytest

pytest.importorskip("babel")

from babel import Locale
from babel.dates import format_date, tokenize_pattern

from heedful.data.text import DateExample, date_examples
from heedful.data.text import dates as module
from heedful.data.text.dates import FORMATS, HELD_OUT, LOCALES, dates


@pytest.fixture(scope="module")
def train() -> list[DateExample]:
    return date_examples("train", 20_000)


@pytest.fixture(scope="module")
def test() -> list[DateExample]:
    return date_examples("test", 2_000)


@pytest.fixture(scope="module")
def valid() -> list[DateExample]:
    return date_examples("valid", 2_000)


def bare(row: DateExample) -> str:
    return row.text.removeprefix(f"{row.locale}: ")


class Look:
    """What a locale makes of a format."""

    def __init__(self, locale: str, style: str) -> None:
        known = Locale.parse(locale)
        self.pattern = {**known.datetime_skeletons, **known.date_formats}[style].pattern
        tokens = [token for _, token in tokenize_pattern(self.pattern)]
        self.fields = [token[0] * token[1] for token in tokens if not isinstance(token, str)]
        self.signs = {sign for token in tokens if isinstance(token, str) for sign in module._plain(token)}
        self.order = "".join(field[0] for field in self.fields if field[0] in "dMy")
        # Nothing where months are numbers, or where no weekday stands.
        self.months, self.weekdays = (), ()
        for field in self.fields:
            if len(field) > 2 and field[0] in "ML":
                names = [format_date(date(2001, month, 1), field, locale) for month in range(1, 13)]
                self.months = () if re.search(r"\d", names[0]) else tuple(names)
            if field[0] in "Ec":
                self.weekdays = tuple(format_date(date(2001, 1, day), field, locale) for day in range(1, 8))


@cache
def look(locale: str, style: str) -> Look:
    return Look(locale, style)


def test_they_are_written_as_babel_writes_them(train, valid, test):
    seen = set()
    for row in train[:3_000] + valid[:500] + test[:500]:
        seen.add(row.locale)
        expected = format_date(date.fromisoformat(row.iso), look(row.locale, row.format).pattern, row.locale)
        assert bare(row) == re.sub(r"\s", " ", expected)
        assert row.text in (bare(row), f"{row.locale}: {bare(row)}")
    assert seen == set(LOCALES)


def test_one_input_has_one_output(train, valid, test):
    meant = defaultdict(set)
    for row in [*train, *valid, *test]:
        meant[row.text].add(row.iso)
    assert {text: isos for text, isos in meant.items() if len(isos) > 1} == {}
    assert len(meant) > 20_000


def test_one_input_has_one_output_whatever_the_zeros(train, valid, test):
    meant = defaultdict(set)
    for row in [*train, *valid, *test]:
        meant[re.sub(r"\b0(?=\d\b)", "", row.text)].add(row.iso)
    assert {text: isos for text, isos in meant.items() if len(isos) > 1} == {}


def test_the_locale_stands_where_day_and_month_could_be_exchanged(train, test):
    counts = {True: 0, False: 0}
    for row in [*train, *test]:
        day = date.fromisoformat(row.iso)
        exchangeable = (
            "/" in row.text
            and look(row.locale, row.format).order in ("dMy", "Mdy")
            and (not look(row.locale, row.format).weekdays or row.locale.startswith("en_"))
            and day.day <= 12
            and day.day != day.month
        )
        counts[exchangeable] += 1
        assert row.text.startswith(f"{row.locale}: ") == exchangeable, row
    assert min(counts.values()) > 500


def test_years_of_two_digits(train):
    assert {row.iso[:4] for row in train} == {str(year) for year in range(1950, 2050)}
    short = [row for row in train if "yy" in look(row.locale, row.format).fields]
    assert len(short) > 200
    for row in short:
        digits = re.findall(r"\d+", bare(row))[look(row.locale, row.format).order.index("y")]
        assert row.iso[:4] == ("19" if int(digits) >= 50 else "20") + digits


def test_splits_share_no_day(train, valid, test):
    days = [{row.iso for row in rows} for rows in (train, valid, test)]
    assert not days[0] & days[1]
    assert not days[0] & days[2]
    assert not days[1] & days[2]


def test_only_the_test_has_what_is_held_out(train, valid, test):
    held_out = set(HELD_OUT.items())
    known = {(row.locale, row.format) for row in train}
    assert not known & held_out
    assert {(row.locale, row.format) for row in valid} <= known
    assert {(row.locale, row.format) for row in test} == held_out
    assert {locale for locale, _ in known} == set(LOCALES)
    assert {style for _, style in held_out} < {style for _, style in known} <= set(FORMATS)
    assert 0.1 <= len(held_out) / len(known | held_out) <= 0.15


@pytest.mark.parametrize(("locale", "style"), HELD_OUT.items())
def test_what_is_held_out_is_new_but_its_parts_are_known(train, locale, style):
    held_out = look(locale, style)
    known = [look(locale, style) for style in {row.format for row in train if row.locale == locale}]
    assert len(known) >= 4
    assert all((held_out.pattern, held_out.months) != (one.pattern, one.months) for one in known)
    assert held_out.order in {one.order for one in known if bool(one.months) == bool(held_out.months)}
    assert held_out.months in [(), *(one.months for one in known)]
    assert held_out.weekdays in [(), *(one.weekdays for one in known)]
    assert held_out.signs <= set().union(*(one.signs for one in known))
    texts = [row.text for row in train if row.locale == locale]
    for name in map(module._plain, held_out.months):
        assert any(name in text for text in texts), name


def test_every_sign_of_the_others_is_known(train, valid, test):
    known = {sign for row in train for sign in row.text}
    assert {sign for row in [*valid, *test] for sign in row.text} <= known


def test_seeds():
    assert date_examples("valid", 50) == date_examples("valid", 50, seed=0) == date_examples("valid", 90)[:50]
    assert date_examples("valid", 50) != date_examples("valid", 50, seed=1)
    assert len(date_examples("valid")) == 500
    assert len(date_examples("test")) == 1_000


def test_pairs():
    rows = date_examples("test", 7, seed=3)
    pairs = dates("test", 7, seed=3)
    assert pairs.sources == [row.text for row in rows]
    assert pairs.targets == [row.iso for row in rows]
    assert pairs.locations == [f"dates:test[{number}]" for number in range(7)]


def test_bad_count():
    with pytest.raises(ValueError, match="`count` must be at least 1: got 0."):
        date_examples("train", 0)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "babel", None)
    module._patterns.cache_clear()
    with pytest.raises(
        ModuleNotFoundError, match="the data set `dates` needs `pip install 'heedful.dates.'`: .* babel"
    ):
        date_examples("train", 1)
