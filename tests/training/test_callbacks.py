import io
import random
import re

import numpy as np
import pytest
import torch
from rich.console import Console

import heedful
from heedful.training.callbacks import seed_everything
from tests.tiny import TINY


def train(folder, shades, console, monkeypatch):
    monkeypatch.setattr("rich.console.Console", lambda **_: console)
    heedful.train("classify-image", str(shades), settings=[*TINY, "training.epochs=3"], out=folder)


def test_a_terminal_gets_a_bar_with_rate_and_remaining_time(shades, tmp_path, monkeypatch):
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, color_system=None, _environ={})
    train(tmp_path / "run", shades, console, monkeypatch)
    shown = text.getvalue()
    assert re.search(r"epoch [123]/3 .*━.* [\d,]+ images/s (-:--:--|0:00:\d\d)", shown)
    assert "\x1b[?25l" in shown, "the cursor is hidden while the bar moves"
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "and shown again"
    assert len(re.findall(r"epoch \d/3  valid loss ", shown)) == 3
    assert re.search(r"evaluating on 4 images .*0:00:0\d(.|\n)*fitting the baselines on 36 images .*0:00:0\d", shown)


def test_without_a_terminal_there_are_plain_lines_only(shades, tmp_path, monkeypatch):
    text = io.StringIO()
    train(tmp_path / "run", shades, Console(file=text, force_terminal=False, width=20), monkeypatch)
    lines = text.getvalue().splitlines()
    assert "\x1b" not in text.getvalue()
    assert "\r" not in text.getvalue()
    assert len(lines) == 6
    assert lines.pop() == "evaluating on 4 images, and fitting the baselines"
    for number, line in enumerate(lines[2:], start=1):
        assert re.fullmatch(rf"epoch {number}/3  .*  [\d,]+ images/s  remaining \d+:\d\d", line)


def test_the_terminal_is_given_back_after_an_error(shades, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("broken")

    monkeypatch.setattr("heedful.tasks.classify_image.ClassifyImage.validate", broken)
    text = io.StringIO()
    with pytest.raises(ZeroDivisionError, match="broken"):
        train(tmp_path / "run", shades, Console(file=text, force_terminal=True, width=120, _environ={}), monkeypatch)
    assert text.getvalue().rindex("\x1b[?25h") > text.getvalue().rindex("\x1b[?25l")


def test_all_generators_are_seeded_by_seed_and_epoch():
    def draws(*key):
        seed_everything(*key)
        return random.random(), np.random.rand(), torch.rand(()).item()

    keys = [(1,), (1, 0), (1, 1), (2,), (2, 0)]
    drawn = [draws(*key) for key in keys]
    assert [draws(*key) for key in keys] == drawn
    for values in zip(*drawn, strict=True):
        assert len(set(values)) == len(keys)
