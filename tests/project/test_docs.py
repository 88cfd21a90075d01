"""The pages say what was measured, and show pictures that are there."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import ideas

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "ideas.md").read_text()


def test_the_tables_of_the_ideas_are_what_was_measured():
    found = ideas.tables(ideas.read())
    assert set(found) == {"recall", "lengths", "time"}
    assert ideas.with_tables(PAGE, found) == PAGE


def test_a_table_that_is_not_on_the_page_is_an_error():
    with pytest.raises(ValueError, match="`page` must have one table `recall`: got 0."):
        ideas.with_tables("no tables", {"recall": ""})


def test_every_picture_of_the_ideas_is_there_and_shown():
    shown = re.findall(r"!\[[^\]]{20,}\]\(ideas/([\w-]+\.png)\)", PAGE)
    assert len(shown) == PAGE.count("![") >= 9
    assert sorted(shown) == sorted(file.name for file in (DOCS / "ideas").glob("*.png"))


def test_every_seed_of_every_training_is_in_the_results():
    found = ideas.read()
    assert {(run["kind"], run["seed"]) for run in found["recall"]} == {
        (k, s) for k in ideas.READERS for s in ideas.SEEDS
    }
    assert len(found["lengths"]) == len(ideas.TASKS) * len(ideas.KINDS) * len(ideas.SEEDS)


def test_the_tasks_ask_what_the_page_says():
    generator = torch.Generator().manual_seed(0)
    names, colours, answer = ideas.notes(5, 7, 8, generator)
    for sample in range(5):
        places = (names[sample, :-1] == names[sample, -1]).nonzero().flatten().tolist()
        assert len(places) == 1
        assert places[0] < 8
        assert colours[sample, places[0]] == answer[sample]
    tokens, marks, answers = ideas.sentences("last marked", 3, 40, generator)
    for sample in range(3):
        last = None
        for place in range(40):
            last = tokens[sample, place] if marks[sample, place] else last
            assert answers[sample, place] == (-100 if last is None else last)
    tokens, _, answers = ideas.sentences("three back", 3, 40, generator)
    assert (answers[:, :3] == -100).all()
    assert (answers[:, 3:] == tokens[:, :-3]).all()


@pytest.mark.parametrize("kind", ideas.READERS)
def test_readers_train(kind):
    run = ideas.train_reader(kind, 1, steps=2, longest=20, distances=(30,))
    assert set(run["accuracy"]) == {"30"}
    assert 0 <= run["accuracy"]["30"] <= 1


@pytest.mark.parametrize("kind", ideas.KINDS)
def test_followers_train(kind):
    run = ideas.train_follower("three back", kind, 1, steps=2)
    assert 0 <= run["known"] <= 1
    assert 0 <= run["new"] <= 1


def test_the_window_sees_128_positions_and_attention_all():
    torch.manual_seed(0)
    names, colours, _ = ideas.notes(1, 300, 8, torch.Generator().manual_seed(0))
    changed = colours.clone()
    changed[0, :8] = (changed[0, :8] + 1) % 8
    for kind, same in (("attention", False), ("window of 128", True)):
        reader = ideas.Reader(kind)
        assert torch.equal(reader(names, colours), reader(names, changed)) is same
