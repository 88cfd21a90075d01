"""`training.batch_size=auto`: which size is taken, and that a run with it is one like any other."""

import tomllib

import pytest

from heedful.tasks import batch_size
from heedful.tasks.batch_size import with_batch_size
from heedful.tasks.classify import Classify
from tests.tiny import Killed, killing, outcome, words


@pytest.mark.parametrize(
    ("speeds", "best", "end"),
    [
        ({25: 10, 50: 20, 100: 39, 200: 40, 400: 30}, 200, "it got slower"),
        ({25: 10, 50: 9, 100: 20, 200: 20.5, 400: 12}, 200, "it got slower"),
        ({25: 10, 50: 20}, 50, "with more, an epoch would have fewer than 10 steps"),
        ({12: 10}, 12, "with more, an epoch would have fewer than 10 steps"),
        ({25: 10, 50: 20}, 50, "there was not enough memory for more"),
        ({25: 10}, 25, "more would need too much memory"),
    ],
)
def test_which_size_is_taken(speeds, best, end, monkeypatch):
    def speed(task, size, examples, folder, base):
        if size not in speeds:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return speeds[size]

    few = end.startswith("with more")
    limit = max(speeds) * 10 if few else 10**9
    monkeypatch.setattr(batch_size, "_speed", speed)
    monkeypatch.setattr(batch_size, "_steps", lambda task, size, examples: limit // size)
    grown = iter(range(0, 1000, 2))
    monkeypatch.setattr(batch_size, "peak_memory", lambda: next(grown))
    monkeypatch.setattr(batch_size, "_available", lambda: 2 if "too much" in end else 10**9)
    task = Classify(Classify.Settings(), {"classes": ["a", "b"], "words": {}, "char_ngrams": []})
    settings, told = with_batch_size(task, None, None, None)
    assert settings.training.batch_size == best
    assert told.startswith(f"training.batch_size = {best}: of those tried (tokens/s) {min(speeds)} (10), ".rstrip(", "))
    assert told.endswith(end)


def test_memory_for_not_even_the_first(monkeypatch):
    def speed(*_):
        raise MemoryError

    monkeypatch.setattr(batch_size, "_speed", speed)
    monkeypatch.setattr(batch_size, "_steps", lambda *_: 99)
    task = Classify(Classify.Settings(), {"classes": ["a", "b"], "words": {}, "char_ngrams": []})
    with pytest.raises(MemoryError):
        with_batch_size(task, None, None, None)


def test_a_run_with_a_size_that_was_found(heedful, shades, tmp_path, monkeypatch):
    """It stands in config.toml; the same command goes on with it; and what was tried leaves no trace."""
    command = words(shades, tmp_path / "run", "training.batch_size=auto")
    monkeypatch.setattr("heedful.training.callbacks._TIMED", 0.02)
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 1)
        with pytest.raises(Killed):
            heedful(*command)
    size = tomllib.loads((tmp_path / "run" / "config.toml").read_text())["training"]["batch_size"]
    assert size in (1, 2, 4)
    resumed = heedful(*command, "--resume")
    assert resumed.status == 0, resumed.err
    assert "training.batch_size" not in resumed.out
    assert heedful(*words(shades, tmp_path / "plain", f"training.batch_size={size}")).status == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "plain")


def test_what_was_tried_is_printed(heedful, shades, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "_speed", lambda task, size, examples, folder, base: float(size))
    answer = heedful(*words(shades, tmp_path / "run", "training.batch_size=auto"))
    told = (
        "training.batch_size = 2: of those tried (images/s) 2 (2); with more, an epoch would have fewer than 10 steps"
    )
    assert told in answer.out.splitlines()


def test_what_is_no_size(refused, shades, tmp_path):
    line = refused(*words(shades, tmp_path / "run", "training.batch_size=big"))
    assert line.startswith("`training.batch_size`: input should be a valid integer")
    assert line.endswith("got 'big'.")
