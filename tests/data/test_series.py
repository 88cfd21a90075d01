import gzip

import numpy as np
import polars
import pytest

from heedful._errors import DataError
from heedful.data.columns import read_columns
from heedful.data.series import read_series, read_series_by
from heedful.data.times import Frequency, frequency_of

DAYS = np.arange("2024-01-01", "2024-01-13", dtype="datetime64[D]")


def table(folder, text, name="prices.csv"):
    file = folder / name
    file.write_text(text)
    return file


def column(source, **options):
    return read_series(source, **options).values[:, 0].tolist()


def refuse(source, message, **options):
    with pytest.raises(DataError) as error:
        read_series(source, **options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "form", ["csv", "tsv", "jsonl", "csv.gz", "parquet", "pandas", "polars", "index", "dict", "rows"]
)
def test_every_form_of_a_table_is_the_same_series(tmp_path, form):
    pandas = pytest.importorskip("pandas")
    days, close = DAYS.astype(str).tolist(), [float(i) for i in range(12)]
    frame = pandas.DataFrame({"date": pandas.to_datetime(days), "close": close})
    rows = [{"date": day, "close": number} for day, number in zip(days, close, strict=True)]
    lines = [f"{day},{number}" for day, number in zip(days, close, strict=True)]
    file = tmp_path / f"t.{form}"
    if form == "parquet":
        frame.to_parquet(file)
    elif form == "csv.gz":
        file.write_bytes(gzip.compress("\n".join(["date,close", *lines]).encode()))
    elif form == "jsonl":
        file.write_text("".join(f'{{"date": "{row["date"]}", "close": {row["close"]}}}\n' for row in rows))
    else:
        file.write_text("\n".join(["date,close", *lines]).replace(",", "\t" if form == "tsv" else ","))
    source = {
        "pandas": frame, "polars": polars.DataFrame({"date": polars.Series(days).str.to_date(), "close": close}),
        "index": frame.set_index("date"), "dict": {"date": days, "close": close}, "rows": rows,
    }.get(form, file)  # fmt: skip
    series = read_series(source)
    assert series.columns == ("close",)
    assert series.time_column == "date"
    assert series.texts() == days
    assert series.values[:, 0].tolist() == close
    assert (str(series.frequency), series.notes) == ("1 day", ())


def test_standard_input_and_a_file_without_a_header(tmp_path):
    series = read_series(table(tmp_path, "2024-01-01;1,5\n2024-01-02;2,5\n"))
    assert (series.columns, series.time_column) == (("2",), "1")
    assert series.values[:, 0].tolist() == [1.5, 2.5]
    assert column(np.array([[1.0, 2.0], [3.0, 4.0]]), columns=["2"]) == [2.0, 4.0]


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,234.50", "7", "-1,234,567"], [1234.5, 7, -1234567]),
        (["1.234,50", "7", "0,5"], [1234.5, 7, 0.5]),
        (["1 234,5", "12\u202f345", "7"], [1234.5, 12345, 7]),
        (["1'234.5", "+7", "1e3"], [1234.5, 7, 1000]),
        (["NA", "-", "1.5", "n/a", "null"], [np.nan, np.nan, 1.5, np.nan, np.nan]),
    ],
)
def test_numbers_as_people_write_them(cells, numbers):
    np.testing.assert_equal(column({"x": cells}), np.array(numbers, float))


def test_a_decimal_comma_in_one_column_is_one_in_all():
    series = read_series({"a": ["1.234", "5.678"], "b": ["0,5", "1,5"]})
    assert series.values.tolist() == [[1234, 0.5], [5678, 1.5]]
    assert column({"a": ["1,234", "5"]}, decimal=",") == [1.234, 5]


def test_what_is_no_number_is_named_with_its_row(tmp_path):
    rows = "".join(f"2020-01-01T{i // 60:02}:{i % 60:02},{i}\n" for i in range(810))
    file = table(tmp_path, f"time,close\n{rows}2020-01-02,high\n")
    refuse(file, f"{file}:812: 'close' must be a number: got 'high'")
    refuse({"x": [1.0, float("inf")]}, "row 1: 'x' must be finite: got an infinite number")
    refuse(
        {"x": ["1,234", "5"]},
        "row 0: 'x' must tell the decimal sign: got '1,234', which may be 1234 or 1.234; set decimal to . or ,",
    )
    refuse({"x": ["1,5", "1.5"]}, "row 1: 'x' must have the decimal sign of '1,5' in row 0: got '1.5'")
    refuse({"x": ["", "NaN"]}, "the data: 'x' must hold a number: got 2 empty cells")
    refuse({"x": ["a", "b"]}, "the data: must have a column of numbers: got 'x'")
    refuse(
        {"x": [1], "y": [2]},
        "the data: must have a column 'z': got 'x', 'y'; name the columns, or number them from 1",
        columns=["z"],
    )
    refuse(table(tmp_path, "time,x\n"), f"{file}: must hold at least one row: got none")
    refuse(table(tmp_path, "time,x\n1,2,3\n"), f"{file}:2: must have 2 columns, as line 1 has: got 3, '1', '2', '3'")
    refuse(table(tmp_path, "x,x\n1,2\n"), f"{file}:1: must name each column once: got 'x' 2 times")
    refuse(tmp_path / "none.csv", f"{tmp_path}/none.csv: cannot be read: No such file or directory")


def test_columns_of_words_are_left_out_with_a_note():
    series = read_series({"day": ["2024-01-01", "2024-01-02"], "ticker": ["A", "A"], "close": [1, 2]})
    assert series.columns == ("close",)
    assert series.notes == ("the data: 'ticker' is no numbers, and not read",)


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["31.12.2023", "01.01.2024"], "2023-12-31"),
        (["12/31/2023", "01/01/2024"], "2023-12-31"),
        (["31/12/2023 13:05", "01/01/2024 01:00"], "2023-12-31T13:05"),
        (["12/31/2023 1:05 PM", "01/01/2024 1:00 AM"], "2023-12-31T13:05"),
        (["2023/12/31", "2024/1/1"], "2023-12-31"),
        (["2023-11", "2023-12"], "2023-11-01"),
        (["2023Q4", "2024 Q1"], "2023-10-01"),
        (["31 Dec 2023", "01 Jan 2024"], "2023-12-31"),
        (["Dec 2023", "Jan 2024"], "2023-12-01"),
        (["20231231", "20240101"], "2023-12-31"),
        ([202311, 202312], "2023-11-01"),
        (["2023-12-31T23:00:00+01:00", "2024-01-01T00:00:00+01:00"], "2023-12-31T22:00"),
        (["2023-12-31 23:00:00Z", "2024-01-01 00:00:00Z"], "2023-12-31T23:00"),
        ([1999, 2000], "1999"),
        ([0.25, 0.5], "0.25"),
    ],
)  # fmt: skip
def test_times_as_people_write_them(cells, first):
    assert read_series({"time": cells, "x": [1, 2]}).texts()[0] == first


def test_what_is_no_time_is_named_with_its_row():
    for cells, message in (
        (["2024-01-01", "yesterday"], "row 1: 'time' must be a time: got 'yesterday'"),
        (["2024-01-01", ""], "row 1: 'time' must be a time: got nothing"),
        (["2024-02-30", "2024-03-01"], "row 0: 'time' must be a time: got '2024-02-30'"),
        (["2024-01-01T00:00", "2024-01-01T00:00Z"],
         "row 1: 'time' must have no offset from UTC, as the rows before it: got '2024-01-01T00:00Z'"),
        (["01/02/2024", "03/04/2024"], "row 0: 'time' must tell day from month: got '01/02/2024', and no day beyond 12; "
         "set time_format to %d/%m/%Y or %m/%d/%Y"),
    ):  # fmt: skip
        refuse({"time": cells, "x": [1, 2]}, message)
    series = read_series({"time": ["01/02/2024", "03/04/2024"], "x": [1, 2]}, time_format="%d/%m/%Y")
    assert series.texts() == ["2024-02-01", "2024-04-03"]


def test_rows_are_sorted_and_a_time_stands_once():
    data = {"t": [3, 1, 2, 2], "x": [3.0, 1.0, 2.0, 4.0]}
    refuse(data, "row 3: each time must stand once: got 2 as in row 2; set duplicates to mean, first or last")
    for duplicates, number in (("mean", 3.0), ("first", 2.0), ("last", 4.0)):
        series = read_series(data, duplicates=duplicates)
        assert series.values[:, 0].tolist() == [1.0, number, 3.0]
        assert series.notes[0] == "the data: rows were not in the order of time, and are sorted"
        assert "1 row has a time that was there before" in series.notes[1]
    assert series.location(2) == "row 0"


def test_an_hour_that_comes_twice_in_autumn():
    hours = ["2024-10-27T01:00", "2024-10-27T02:00", "2024-10-27T02:00", "2024-10-27T03:00"]
    data = {"time": hours, "x": [1, 2, 3, 4]}
    refuse(data, "row 2: each time must stand once: got 2024-10-27T02:00 as in row 1; set duplicates to mean, first or last; "
           "for a clock that is set back in autumn, set timezone")  # fmt: skip
    series = read_series(data, timezone="Europe/Berlin")
    assert series.texts() == ["2024-10-26T23:00", "2024-10-27T00:00", "2024-10-27T01:00", "2024-10-27T02:00"]
    spring = {"time": ["2024-03-31T01:00", "2024-03-31T03:00", "2024-03-31T04:00"], "x": [1, 2, 3]}
    assert read_series(spring, timezone="Europe/Berlin").notes == ()  # no hour is missing
    message = "row 0: 'time' must be a time of Europe/Berlin: got '2024-03-31 02:30:00', which its clocks skip"
    refuse({"time": ["2024-03-31T02:30"], "x": [1]}, message, timezone="Europe/Berlin")
    refuse(spring, "the time zone must be one such as Europe/Berlin: got 'Mars'", timezone="Mars")


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (np.arange("2024-01-01", "2024-01-20", dtype="datetime64[D]"), "1 day"),
        (np.arange("2024-01-01", "2024-06-01", 7, dtype="datetime64[D]"), "1 week"),
        (np.arange("2020-01", "2024-01", dtype="datetime64[M]"), "1 month"),
        (np.arange("2020-01", "2024-01", 3, dtype="datetime64[M]"), "3 months"),
        (np.arange("2000", "2024", dtype="datetime64[Y]"), "1 year"),
        (np.arange("2020-02", "2021-02", dtype="datetime64[M]").astype("datetime64[D]") - 1, "1 month"),  # the last day of each
        (np.arange("2024-01-01T00:00", "2024-01-01T05:00", 15, dtype="datetime64[m]"), "15 minutes"),
        (np.busday_offset("2024-01-01", np.arange(12)), "1 business day"),
        (np.array([0.0, 0.1, 0.2, 0.5]), "0.1"),
        (np.array([0.0, 0.1, 0.37, 0.5, 0.91]), "None"),
    ],
)  # fmt: skip
def test_the_frequency_is_found_and_goes_on(times, words):
    times = times.astype("datetime64[us]") if times.dtype.kind == "M" else times
    frequency = frequency_of(times)
    assert str(frequency) == words
    if frequency is not None and words != "0.1":
        np.testing.assert_array_equal(frequency.after(times[0], len(times) - 1), times[1:])
        np.testing.assert_allclose(frequency.positions(times), np.arange(len(times)))


def test_gaps_are_named_and_filled_with_nothing():
    series = read_series({"day": [*DAYS[:3].astype(str), *DAYS[5:].astype(str)], "x": range(10)})
    assert series.notes == (
        "the data: 2 times are missing in 1 gap of a grid of 1 day; the longest is from 2024-01-03 to 2024-01-06",
    )
    regular = series.regular()
    assert len(regular) == 12
    assert np.isnan(regular.values[3:5, 0]).all()
    assert regular.rows[2:7].tolist() == [2, -1, -1, 3, 4]
    assert regular.location(3) == "the data"
    assert series.after(2).astype("datetime64[D]").astype(str).tolist() == ["2024-01-13", "2024-01-14"]


def test_two_frequencies_and_none_cannot_be_regular():
    hours = np.arange("2024-01-01T00", "2024-01-01T12", dtype="datetime64[h]")
    days = np.arange("2024-01-02", "2024-01-10", dtype="datetime64[D]").astype("datetime64[h]")
    series = read_series({"time": np.concatenate([hours, days]), "x": np.arange(20.0)})
    assert series.notes == ("the data: times have two frequencies: 1 hour, and another from row 13 on",)
    with pytest.raises(
        DataError, match="row 13: times must have one frequency: got steps of 1 hour, and from here on of 24 times that"
    ):
        series.regular()
    irregular = read_series({"t": [0.0, 0.1, 0.37, 0.5, 0.91], "x": np.arange(5.0)})
    assert irregular.notes == ("the data: times are irregular: their steps have nothing in common",)
    with pytest.raises(DataError, match="the data: times must have a frequency: got steps that have nothing in common"):
        irregular.regular()
    beside = read_series({"t": [*range(30), 29.5], "x": np.arange(31.0)})
    with pytest.raises(DataError, match="row 30: times must be whole steps of 1 after 0: got 29.5"):
        beside.regular()


def test_several_series_one_below_the_other(tmp_path):
    file = table(tmp_path, "shop,day,sold\na,2024-01-02,2\nb,2024-01-01,3\na,2024-01-01,1\n,2024-01-01,1\n")
    with pytest.raises(DataError, match=f"{file}:5: 'shop' must say which series it is: got nothing"):
        read_series_by(file, "shop")
    file.write_text(file.read_text()[: -len(",2024-01-01,1\n")])
    found = read_series_by(file, "shop", ["sold"])
    assert {name: one.values[:, 0].tolist() for name, one in found.items()} == {"a": [1.0, 2.0], "b": [3.0]}
    assert found["a"].location(0) == f"{file}:4"


def test_columns_are_found_by_name_number_and_case():
    columns = read_columns({"Close": [1.0], "day": [1]})
    assert (columns.find("close"), columns.find("1"), len(columns)) == ("Close", "Close", 1)
    with pytest.raises(DataError, match="the data: columns must have one length: got a 1, b 2"):
        read_columns({"a": [1], "b": [1, 2]})
    with pytest.raises(
        DataError, match=r"the data: must be an array \[rows\] or \[rows, columns\]: got shape \[1, 1, 1\]"
    ):
        read_columns(np.zeros((1, 1, 1)))


def test_months_end_where_they_end():
    january = np.datetime64("2024-01-30T12:00", "us")
    assert Frequency(1, "month").after(january, 2).astype(str).tolist() == [
        "2024-02-29T12:00:00.000000",
        "2024-03-30T12:00:00.000000",
    ]
