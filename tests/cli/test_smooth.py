import json

import numpy as np
import pytest

DAYS = np.busday_offset("2024-01-01", np.arange(90), roll="forward").astype(str)
CLOSE = np.repeat([10.0, 14.0, 11.0], 30) + 0.5 * np.random.default_rng(0).standard_normal(90)


@pytest.fixture
def prices(tmp_path):
    file = tmp_path / "prices.csv"
    rows = [
        f"{day},{'' if row == 40 else f'{close:.3f}'},{row}"
        for row, (day, close) in enumerate(zip(DAYS, CLOSE, strict=True))
    ]
    file.write_text("\n".join(["date,close,volume", *rows]) + "\n")
    return file


def test_it_prints_what_was_chosen_and_writes_table_plot_and_page(heedful, prices, tmp_path):
    out, plot, page = tmp_path / "smoothed.csv", tmp_path / "out.png", tmp_path / "page.html"
    status, text, err = heedful(
        "smooth",
        prices,
        "--column",
        "close",
        "--out",
        out,
        "--plot",
        plot,
        "--weights",
        "2024-02-01",
        "--inspect",
        page,
    )
    assert (status, err) == (0, "")
    assert "values     90, from 2024-01-01 to 2024-05-03, in steps of 1 business day; 1 missing, filled\n" in text
    assert "noise      close 0." in text
    assert "chosen     windows of " in text
    assert "settings (Stein's estimate)\n2024-02-01 was made of\n" in text
    lines = out.read_text().splitlines()
    assert lines[0] == "date,close,close_smoothed"
    assert len(lines) == 91
    assert lines[41].startswith(f"{DAYS[40]},,1")
    smoothed = np.array([float(line.split(",")[2]) for line in lines[1:]])
    truth = np.repeat([10.0, 14.0, 11.0], 30)
    assert ((smoothed - truth) ** 2).mean() < 0.5 * np.nanmean((CLOSE - truth) ** 2) + 0.02
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "Smoothing by self-similarity" in page.read_text()


def test_several_columns_standard_settings_and_json_lines(heedful, prices, tmp_path):
    out = tmp_path / "smoothed.jsonl"
    words = ("--strength", "1", "--length", "5", "--window", "all", "--decay", "9", "--online", "--stages", "1")
    status, text, err = heedful("smooth", prices, *words, "--out", out, "--weights", "7")
    assert (status, err) == (0, "")
    assert "set        windows of 5; all values, nearer ones more (decay 9 steps); strength 1; 1 stage\n" in text
    assert f"{DAYS[7]} was made of\n" in text
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(rows[40]) == ["date", "close", "volume", "close_smoothed", "volume_smoothed"]
    assert rows[40]["close"] is None
    assert isinstance(rows[40]["close_smoothed"], float)


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        ("t,x\n1,1\n2,high\n", (), "{file}:3: 'x' must be a number: got 'high'"),
        ("t,x\n1,1\n1,2\n", (), "{file}:3: each time must stand once: got 1 as in {file}:2; set duplicates to mean, first or last"),
        ("t,x\n1,\n2,NaN\n", (), "{file}: 'x' must hold a number: got 2 empty cells"),
        ("t,x\n1,1\n2,2\n", ("--weights", "9"), "{file}: --weights must be a time from 1 to 2, or a row from 0 to 1: got '9'"),
        ("t,x\n1,1\n2,2\n", ("--window", "0"), "--window must be a number of values from 1, or all: got '0'."),
        ("t,x\n1,1\n2,2\n", ("--length", "4"), "{file}: `length` must be an odd number of values: got 4."),
        ("t,x\n1,1\n2,2\n", ("--column", "y"), "{file}: must have a column 'y': got 't', 'x'; name the columns, or number them from 1"),
        ("t,x\n1,1\n2,2\n", ("--out", "x.txt"), "x.txt: --out must end in .csv, .tsv or .jsonl."),
        ("t,x\n1,1\n2,2\n", ("--plot", "no/x.png"), "no/x.png: must be a file in a folder that exists."),
        ("t,x\n1,1\n2,2\n", ("--plot", "x.gif"), "x.gif: `path` must end in one of .png, .svg, .pdf: got 'x.gif'."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(refused, tmp_path, content, words, message):
    file = tmp_path / "x.csv"
    file.write_text(content)
    assert refused("smooth", file, *words) == message.replace("{file}", str(file))


def test_notes_go_to_standard_error(heedful, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("t,name,x\n3,a,3\n1,a,1\n2,b,2\n")
    status, text, err = heedful("smooth", file)
    assert status == 0
    assert err == (
        f"note: {file}: 'name' is no numbers, and not read\nnote: {file}: rows were not in the order of time, and are sorted\n"
    )
    assert "values     3, from 1 to 3, in steps of 1\n" in text
    constant = heedful("smooth", file, "--column", "x")
    assert "noise      x 0\n" in constant.out


def test_a_task_that_learns_nothing_says_so(refused, heedful):
    message = "`smooth` has nothing to learn: heedful smooth TABLE does it at once; heedful smooth --help."
    assert refused("train", "smooth", "--data", "x", "--out", "y") == message
    assert refused("show", "smooth") == message
    assert "smooth\n    each value of a series" in heedful("tasks").out
