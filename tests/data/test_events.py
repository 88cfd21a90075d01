"""Events become histories: formats, columns, order, duplicates, and what is refused."""

import gzip
from datetime import UTC, datetime

import numpy as np
import pytest

from heedful._errors import DataError
from heedful.data.events import EventColumns, read_histories
from heedful.data.genres import genre_histories
from heedful.data.histories import HoldOut, histories_of

EVENTS = [("ann", "tea", 3), ("bob", "tea", 1), ("ann", "milk", 1), ("ann", "a b", 2)]
PLAIN = "ann\ttea\t3\nbob\ttea\t1\nann\tmilk\t1\nann\ta b\t2\n"


def names(histories, row=0):
    return [histories.items[number] for number in histories.of(row)]


FORMATS = {
    "data.txt": PLAIN,
    "data.csv": "timestamp,user_id,asin\n" + "".join(f'{time},{user},"{item}"\n' for user, item, time in EVENTS),
    "data.tsv": "item\tother\tuser\ttime\n" + "".join(f"{item}\tx\t{user}\t{time}\n" for user, item, time in EVENTS),
    "data.jsonl": "".join(f'{{"user": "{user}", "item": "{item}", "time": {time}}}\n' for user, item, time in EVENTS),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same(name, tmp_path):
    (tmp_path / name).write_text(FORMATS[name])
    found = read_histories(tmp_path / name)
    assert found.users == ("ann", "bob")
    assert names(found) == ["milk", "a b", "tea"]
    assert names(found, 1) == ["tea"]
    assert found.times.tolist() == [1, 2, 3, 1]


def test_parquet_gzip_and_data_in_memory_give_the_same(tmp_path):
    pandas, columns = (
        pytest.importorskip("pandas"),
        dict(zip(("user", "item", "time"), zip(*EVENTS, strict=True), strict=True)),
    )
    frame = pandas.DataFrame(columns)
    frame["time"] = pandas.to_datetime(frame["time"], unit="s")
    frame.to_parquet(tmp_path / "data.parquet")
    with gzip.open(tmp_path / "data.tsv.gz", "wt") as file:
        file.write(FORMATS["data.tsv"])
    rows = [dict(zip(columns, event, strict=True)) for event in EVENTS]
    whole = b"".join(read_histories(rows).content())
    for source in (tmp_path / "data.parquet", tmp_path / "data.tsv.gz", frame, columns, tuple(columns.values())):
        assert b"".join(read_histories(source).content()) == whole


def test_columns_by_name_and_by_number(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("who,what,stars,when\nann,tea,5,2\nann,milk,1.5,1\n")
    found = read_histories(file, columns=EventColumns("who", "what", "when", "stars"))
    assert names(found) == ["milk", "tea"]
    assert found.weights.tolist() == [1.5, 5]
    file.write_text("x,ann,tea\ny,ann,milk\n")
    found = read_histories(file, columns=EventColumns(2, 3, "none", "none"))
    assert (names(found), found.times) == (["tea", "milk"], None)


def test_duplicates_and_order_are_counted():
    users, items, times = zip(("u", "a", 2), ("u", "b", 1), ("u", "a", 2), ("v", "a", 1), ("u", "a", 3), strict=True)
    found = histories_of(users, items, times)
    assert names(found) == ["b", "a", "a"]
    assert found.notes == (
        "the data: 1 of 2 users had events that were not in the order of time: they are sorted",
        "the data: 1 of 5 events are the same item of a user at the same time: dropped",
    )
    found = histories_of(users, items)
    assert names(found) == ["a", "b", "a"]
    assert found.notes == ("the data: 1 of 5 events are the same item of a user right after itself: dropped",)
    assert names(histories_of(users, items, drop_duplicates=False)) == ["a", "b", "a", "a"]


def test_times_are_numbers_or_dates():
    dates = [
        "2024-05-01",
        "2024-05-01T00:00:01Z",
        "2024-05-01T02:00:02+02:00",
        datetime(2024, 5, 1, 0, 0, 3),
        np.datetime64("2024-05-01T00:00:04"),
    ]
    found = read_histories((["u"] * 5, list("abcde"), dates))
    assert (found.times - datetime(2024, 5, 1, tzinfo=UTC).timestamp()).tolist() == [0, 1, 2, 3, 4]


BAD = [
    ("data.txt", "ann tea 1\nann milk soon\n", ":2: the time must be a number, or a date such as 2024-05-01T12:30: got 'soon'"),
    ("data.txt", "ann tea 1\nann milk inf\n", ":2: the time must be a number, or a date such as 2024-05-01T12:30: got inf"),
    ("data.txt", "ann tea 1 2\nann milk 2 0\n", ":2: the weight must be a positive number: got '0'"),
    ("data.txt", "ann tea\nann\n", ":2: must have 2 columns, as the first row has: got 1"),
    ("data.txt", "ann\n", ":1: must have 2 to 4 columns, user, item, time and weight, or a header that names them: got 1"),
    ("data.csv", "user,item\nann,tea\nann,\n", ":3: must have an item: got an empty field"),
    ("data.csv", "user,item\n,tea\n", ":2: must have a user: got an empty field"),
    ("data.csv", "user,item\n", ": must hold at least one event: got none"),
    ("data.csv", "", ": must hold at least one line: got an empty file"),
    ("data.jsonl", '{"user": "ann", "item": null}\n', ":1: 'item' must be a text, a number, true or false: got nothing"),
    ("data.jsonl", '{"user": "ann", "thing": "tea"}\n', ":1: must have a column 'item': got 'user', 'thing'; name the columns"),
    ("data.parquet", "no", ": must be a Parquet file: got the error "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "says"), BAD)
def test_what_is_refused(name, content, says, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        read_histories(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}{says}")
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_there(tmp_path):
    (tmp_path / "data.csv").write_text("who,what\nann,tea\n")
    with pytest.raises(DataError, match="data.csv:1: must have a column 'wo': got 'who', 'what'; did you mean 'who'"):
        read_histories(tmp_path / "data.csv", columns=EventColumns("wo", "what"))


def test_bad_rows_are_skipped_and_counted(tmp_path):
    (tmp_path / "data.txt").write_text(PLAIN + "ann\t\t9\n")
    found = read_histories(tmp_path / "data.txt", skip=0.3)
    assert len(found.events) == 4
    assert "1 of 5 rows are bad and were skipped; the first: " in found.notes[0]


def history(split, users=12, length=5):
    events = [(f"u{user}", f"i{step}", user + 10 * step) for user in range(users) for step in range(length)]
    return histories_of(*zip(*events, strict=True), split=split)


def test_the_last_items_of_each_user():
    whole = histories_of(["short", *"u" * 4], ["x", *"abcd"])
    with pytest.raises(
        DataError, match=r"^must hold at least 10 users with at least 3 items, to hold some out .*: got 1 of 2$"
    ):
        HoldOut()(whole, "user")
    parts = HoldOut()(history("leave-one-out"), "user")
    assert [names(part) for part in (parts.training, parts.validation, parts.test)] == [
        ["i0", "i1", "i2"], ["i0", "i1", "i2", "i3"], ["i0", "i1", "i2", "i3", "i4"],
    ]  # fmt: skip
    assert names(parts.training.whole) == names(parts.test)


def test_a_user_with_few_items_is_trained_on():
    events = [(f"u{user}", f"i{step}") for user in range(11) for step in range(2 if user == 0 else 3)]
    parts = HoldOut()(histories_of(*zip(*events, strict=True)), "user")
    assert (len(parts.training), len(parts.validation), len(parts.test)) == (11, 10, 10)
    assert parts.training.notes[-1] == "1 of 11 users have fewer than 3 items: all of them are trained on"
    assert names(parts.training) == ["i0", "i1"]


def test_by_time_nothing_of_the_future_is_trained_on():
    whole = history("time", users=30)
    parts = HoldOut()(whole, "user")
    first = parts.training.times.max()
    ends = [part.times[part.offsets[1:] - 1] for part in (parts.validation, parts.test)]
    assert (ends[0] > first).all()
    assert ends[1].min() >= ends[0].max()
    assert len(parts.training.events) == pytest.approx(0.8 * len(whole.events), abs=len(whole))
    with pytest.raises(
        DataError, match=r"^must have a column of times, to be parted by time \(data.split\): got none$"
    ):
        HoldOut()(histories_of(["u"] * 3, list("abc"), split="time"), "user")


def test_users_apart():
    parts = HoldOut()(history("users", users=40), "user")
    users = [set(part.users) for part in (parts.training, parts.validation, parts.test)]
    assert [len(one) for one in users] == [32, 4, 4]
    assert len(set.union(*users)) == 40


def test_the_embedded_histories_are_the_same_each_time():
    one, other = genre_histories("test"), genre_histories.__wrapped__("test")
    assert b"".join(one.content()) == b"".join(other.content())
    assert (len(one), len(one.items)) == (400, 200)
    assert set(one.users).isdisjoint(genre_histories("train").users)
