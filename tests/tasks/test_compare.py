"""Comparisons of variants: pairs over seeds, the same numbers after an interruption, plans that are none."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import heedful
from heedful._errors import DataError, RunFolderError, SettingsError
from heedful.tasks.compare import carried_out
from heedful.tasks.comparison import Comparison, RunResult, measured
from heedful.tasks.plans import ComparisonPlan, read_plan

TEXTS = ["a fine film", "a dull film", "a fine day", "a dull day"] * 10
DATA = (TEXTS, ["good", "bad"] * 20)
ONE = (["a fine film"] * 3, ["good"] * 3)
SMALL = {
    "training.epochs": 1, "model": {"width": 8, "heads": 1, "ffn_width": 8, "pooling_heads": 1, "ensemble_size": 1},
}  # fmt: skip
VARIANTS = {"one": {"model.layers": 1}, "two": {"model": {"layers": 2}}}
PLAN = ComparisonPlan("classify", DATA, VARIANTS, seeds=(1, 2), settings=SMALL)


def result(variant, seed, accuracy, size=100, baseline=0.5):
    return RunResult(
        variant, seed, size, {"accuracy": accuracy, "loss": 1.0}, {"accuracy": "%", "loss": "nat"},
        {"most frequent": {"accuracy": 0.25}, "trees": {"accuracy": baseline}}, 1000, 2.0, 300.0,
    )  # fmt: skip


RESULTS = [result("a", 1, 0.7), result("b", 1, 0.6), result("a", 2, 0.9), result("b", 2, 0.75), result("a", 3, 0.8)]


def test_pairs_are_of_the_seeds_that_both_have():
    [difference] = Comparison("accuracy", RESULTS, 1).differences()
    assert (difference.first, difference.second, difference.size, difference.value.seeds) == ("a", "b", 100, 2)
    low, high = stats.t.interval(0.95, 1, loc=0.125, scale=stats.sem([0.1, 0.15]))
    np.testing.assert_allclose(difference.value[:4], [0.125, np.std([0.1, 0.15], ddof=1), low, high])
    assert measured([0.5]) == (0.5, 0.0, -math.inf, math.inf, 1)


def test_the_tables():
    assert str(Comparison(None, RESULTS, 1)).splitlines() == [
        "variant          examples  accuracy, %    std  seeds  parameters  s   MB",
        "a                     100        80.00  10.00      3       1,000  2  300",
        "b                     100        67.50  10.61      2       1,000  2  300",
        "baseline: trees       100        50.00   0.00      3",
        "",
        "paired difference  examples  accuracy     95 % interval  seeds",
        "a - b                   100    +12.50  -19.27 .. +44.27      2",
        "",
        "1 of 6 runs are missing",
    ]
    assert str(Comparison(None, [], 4)) == "no run is done; 4 are missing"
    with pytest.raises(SettingsError, match=r"^`metric` must be one of accuracy, loss: got 'bleu'\.$"):
        Comparison("bleu", RESULTS, 0)


def test_the_best_baseline_of_a_loss_is_the_lowest():
    losses = {"uniform": {"nats": 4.0}, "n-grams": {"nats": 1.5}}
    results = [one._replace(metrics={"nats": 1.0}, units={"nats": "nats"}, baselines=losses) for one in RESULTS]
    assert Comparison(None, results, 0).rows()[-1]["variant"] == "baseline: n-grams"


@pytest.mark.parametrize("sizes", [1, 3])
def test_the_picture(tmp_path, sizes):
    several = [one._replace(size=10**i, variant=one.variant) for i in range(2, 2 + sizes) for one in RESULTS]
    Comparison("accuracy", several, 0).draw(tmp_path / "a.png")
    assert np.array(Image.open(tmp_path / "a.png").convert("RGB")).std() > 10
    Comparison("accuracy", several, 0).draw(tmp_path / "a.svg")
    assert "best baseline" in (tmp_path / "a.svg").read_text() or sizes == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A comparison that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, heedful.compare("classify", DATA, VARIANTS, seeds=(1, 2), settings=SMALL, out=folder)


def test_each_run_is_a_run_folder(whole):
    folder, found = whole
    assert [(r.variant, r.seed) for r in found.results] == [("one", 1), ("two", 1), ("one", 2), ("two", 2)]
    model = heedful.load(folder / "two" / "seed-2")
    assert (model.task.settings.model.layers, model.task.settings.training.seed) == (2, 2)
    assert model.metrics["metrics"] == found.results[3].metrics
    assert json.loads((folder / "results.json").read_text())["two/seed-2"]["metrics"] == model.metrics["metrics"]
    head, *rows = (folder / "results.csv").read_text().splitlines()
    assert head == "variant,examples,mean,deviation,low,high,seeds,parameters,seconds,megabytes"
    assert [row.split(",")[0] for row in rows] == ["one", "two", "baseline: " + rows[2].split(",")[0][10:]]
    assert (folder / "results.png").stat().st_size > 1000


def test_it_goes_on_to_the_same_numbers(whole, tmp_path):
    class Killed(Exception):
        pass

    def kill(found):
        if len(found.results) == 2:
            raise Killed

    with pytest.raises(Killed):
        carried_out(PLAN, tmp_path / "out", done=kill)
    begun = carried_out(PLAN, tmp_path / "out", time_limit=0.0)
    assert (len(begun.results), begun.missing) == (2, 2)
    rest = carried_out(PLAN, tmp_path / "out")
    assert [r.metrics for r in rest.results] == [r.metrics for r in whole[1].results]
    assert rest.results[:2] == begun.results  # they were not trained again
    with pytest.raises(
        RunFolderError, match=r"one/seed-1: was trained with other settings; another --out begins anew\.$"
    ):
        carried_out(ComparisonPlan("classify", DATA, VARIANTS, seeds=(1, 2)), tmp_path / "out")


def test_sizes_and_a_test_part(tmp_path):
    plan = ComparisonPlan(
        "classify", DATA, {"one": {}}, seeds=(1,), settings=SMALL, sizes=(4, 8), test=ONE, metric="accuracy"
    )
    found = carried_out(plan, tmp_path / "out")
    assert [r.size for r in found.results] == [4, 8]
    assert heedful.load(tmp_path / "out/one/8-examples/seed-1").metrics["examples"] == {"train": 8, "validation": 4}
    assert {r.metrics["accuracy"] for r in found.results} <= {0.0, 1.0}  # on the test part, of one class
    assert heedful.load(tmp_path / "out/one/4-examples/seed-1").metrics["metrics"]["accuracy"] == 0.5
    too_many = ComparisonPlan("classify", DATA, {"one": {}}, seeds=(1,), settings=SMALL, sizes=(99,))
    with pytest.raises(
        DataError,
        match=r"^one/99-examples/seed-1: .* at least 99 texts to train on, `training.max_examples`: got 36\.$",
    ):
        carried_out(too_many, tmp_path / "more")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variants": {"a": {"model.layer": 3}}}, r"^variant a: unknown setting `model.layer`.*did you mean.*layers"),
        ({"variants": {"a": {}, "b": {"training.seed": 7}}}, r"^the variants a and b have the same settings\.$"),
        ({"variants": {"../a": {}}}, r"^the name of a variant must be letters, .*: got '\.\./a'\.$"),
        ({"variants": {}}, r"^a comparison needs at least one seed and one variant: got none\.$"),
        ({"seeds": (1, 1)}, r"^`seeds` must be different from each other: got \[1, 1\]\.$"),
        ({"sizes": (0,)}, r"^`sizes` must be numbers of examples from 1: got 0\.$"),
    ],
)
def test_plans_that_are_none(change, message):
    with pytest.raises(SettingsError, match=message):
        ComparisonPlan(**({"task": "classify", "data": DATA, "variants": {"a": {}}} | change))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("task = 1", r"plan.toml: `task`: input should be a valid string: got 1\.$"),
        ("tusk = 'classify'", r"plan.toml: must hold task, data, .*: got `tusk`\.$"),
        ("task = 'classify'\n[variants.a]\n", r"plan.toml: must name `data`, or `train` and `valid`: got neither\.$"),
        ("task = 'classify'\ndata = 'x'\n[variants.a]\nb = 1\n", r"plan.toml: variant a: .*`b`"),
        ("task = ", r"plan.toml: must be a TOML file in UTF-8: Invalid value"),
        (
            "task = 'classify'\ndata = 'x'\nseeds = []\n[variants.a]\n",
            r"plan.toml: `seeds`: list should have at least 1 item",
        ),
    ],
)
def test_files_that_are_no_plans(tmp_path, content, message):
    (tmp_path / "plan.toml").write_text(content)
    with pytest.raises(SettingsError, match=message):
        read_plan(tmp_path / "plan.toml")


def test_folders_of_something_else(tmp_path):
    (tmp_path / "diary.txt").write_text("dear")
    with pytest.raises(RunFolderError, match=r"a comparison needs an empty folder: this one holds 'diary.txt'\.$"):
        carried_out(PLAN, tmp_path)
    (tmp_path / "diary.txt").rename(tmp_path / "results.json")
    with pytest.raises(RunFolderError, match="results.json: must hold the results of a comparison: "):
        carried_out(PLAN, tmp_path)
    with pytest.raises(RunFolderError, match=r"results.json: a comparison needs a folder: this is a file\.$"):
        carried_out(PLAN, tmp_path / "results.json")
    with pytest.raises(SettingsError, match=r"^`jobs` must be at least 1: got 0\.$"):
        carried_out(PLAN, tmp_path, jobs=0)
