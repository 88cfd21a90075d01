import re

import pytest

from tests.tiny import full_disk, words


@pytest.fixture(scope="module")
def with_class_token(tmp_path_factory, shades):
    from heedful.cli import run

    folder = tmp_path_factory.mktemp("runs") / "token"
    assert run(words(shades, folder, "model.pooling=class-token", "training.epochs=1")) == 0
    return folder


@pytest.mark.parametrize("pooling", ["attention", "class-token"])
def test_one_file_that_shows_each_picture(heedful, shades, tmp_path, trained, with_class_token, pooling):
    folder = trained if pooling == "attention" else with_class_token
    report = tmp_path / "report.html"
    inputs = [shades / "dark" / "3.png", shades / "light" / "5.png"]
    status, out, err = heedful("inspect", folder, *inputs, "--out", report)
    assert (status, out, err) == (0, f"report: {report}\n", "")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    assert not re.search(r"""(src|href)\s*=\s*["']?https?:""", page)
    for file in inputs:
        assert str(file) in page
    assert page.count('"extra":["class token"]') == 2 * (pooling == "class-token")
    assert page.count('"names":["the decision"]') == 2 * (pooling == "attention")
    assert page.count('"layer 1"') == 2


def test_the_report_is_replaced_and_pictures_may_come_from_standard_input(
    heedful, monkeypatch, shades, trained, tmp_path
):
    import io
    import sys

    report = tmp_path / "report.html"
    report.write_text("old")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((shades / "dark" / "3.png").read_bytes())))
    assert heedful("inspect", trained, "--out", report).status == 0
    assert report.read_text().startswith("<!doctype html>")


def test_where_no_report_can_be_written(refused, shades, trained, tmp_path):
    picture = shades / "dark" / "3.png"
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "nowhere" / "report.html", tmp_path / "file" / "report.html"):
        line = refused("inspect", trained, picture, "--out", out)
        assert line == f"{out}: the report must be a file in a folder that exists."
    assert refused("inspect", trained, picture, "--out", "/proc/report.html").startswith(
        "/proc/report.html: the report cannot be written: "
    )
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_full_disk_leaves_the_old_report_or_none(refused, shades, trained, tmp_path, old):
    report = tmp_path / "report.html"
    if old:
        report.write_text(old)
    with full_disk(1000):
        line = refused("inspect", trained, shades / "dark" / "3.png", "--out", report)
    assert line == f"{report}: the report cannot be written: File too large."
    assert [file.read_text() for file in tmp_path.iterdir()] == ([old] if old else [])


def test_a_bad_picture_leaves_no_report(refused, shades, trained, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes((shades / "dark" / "3.png").read_bytes()[:60])
    line = refused("inspect", trained, shades / "dark" / "3.png", bad, "--out", tmp_path / "report.html")
    assert line.startswith(f"{bad}: must be a whole picture: ")
    assert [file.name for file in tmp_path.iterdir()] == ["bad.png"]
