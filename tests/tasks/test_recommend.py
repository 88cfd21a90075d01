"""What recommend does beyond the laws of all tasks."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import heedful
from heedful._errors import DataError
from heedful.data.histories import histories_of
from heedful.tasks.contract import Reading
from heedful.tasks.recommend import Recommend
from heedful.tasks.recommend_baselines import baseline_scores
from heedful.tasks.sources import prepare
from heedful.training.settings import settings_of
from tests.tasks.cases import CASES

SMALL = ("model.width=8", "model.heads=1", "model.ffn_width=8", "training.epochs=1")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return CASES["recommend"].write(tmp_path_factory.mktemp("recommend"), 40, 0)


@pytest.fixture(scope="module")
def trained(file):
    return heedful.train("recommend", str(file), settings=[*SMALL, "model.time_bias=true"], progress=False)


def task_of(file, *words):
    return prepare(Recommend, settings_of(Recommend.Settings, [*SMALL, *words]), {"data": str(file)})


@pytest.mark.parametrize(
    "words",
    [
        ("loss.kind=softmax",), ("loss.kind=bce",), ("loss.kind=gbce", "loss.negatives=9"), ("loss.sampling=popularity",),
        ("model.window=3", "model.positions=alibi"), ("model.norm=post", "model.positions=relative"), ("model.time_bias=true",),
    ],
)  # fmt: skip
def test_every_loss_learns(file, words):
    parts, task = task_of(file, *words)
    torch.manual_seed(0)
    model, batches = task.build(), task.batches(parts.training, training=True)
    adam, losses = torch.optim.Adam(model.parameters(), 0.03), []
    for _ in range(40):
        for rows in batches.order:
            loss = task.loss(model, batches.make(rows), "")
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])


def test_each_target_is_learned_once_however_long_the_history(file):
    parts, task = task_of(file, "data.max_length=3")
    batches = task.batches(parts.training, training=True)
    pairs = []
    for rows in batches.order:
        batch = batches.make(rows)
        assert batch.histories.items.shape[1] <= 3
        real = batch.targets > 0
        pairs += zip(batch.histories.items[real].tolist(), batch.targets[real].tolist(), strict=True)
    number = {name: at + 1 for at, name in enumerate(task.items)}
    expected = []
    for row in range(len(parts.training)):
        own = [number[parts.training.items[one]] for one in parts.training.of(row).tolist()]
        expected += pairwise(own)
    assert sorted(pairs) == sorted(expected)


def test_weights_count_in_the_loss():
    events = [(f"u{user}", f"i{(user + step) % 7}", step, 1 + step) for user in range(12) for step in range(4)]
    parts, task = prepare(
        Recommend,
        settings_of(Recommend.Settings, [*SMALL, "loss.kind=softmax"]),
        {"data": tuple(zip(*events, strict=True))},
    )
    model, batches = task.build().eval(), task.batches(parts.training, training=True)
    batch = batches.make(next(iter(batches.order)))
    assert set(batch.weights[batch.targets > 0].tolist()) == {2.0}
    loss = task.loss(model, batch, "")
    torch.testing.assert_close(task.loss(model, batch._replace(weights=None), ""), loss)
    batch.weights[0] = 100
    assert not torch.isclose(task.loss(model, batch, ""), loss)


def test_histories_of_any_writing(trained):
    first, second = trained.task.items[:2]
    found = trained.predict(
        [f"{first} {second}", f"{first},{second}", f"{first}\t{second}", f'["{first}", "{second}"]', [first, second]]
    )
    assert len({tuple(one.items) for one in found}) == 1
    assert found[4].input == f"{first}\t{second}"
    assert not {first, second} & set(found[0].items)
    (kept,) = trained.predict([first], seen="kept", top_k=10_000)
    assert sorted(kept.items) == sorted(trained.task.items)
    assert kept.scores == sorted(kept.scores, reverse=True)


def test_unknown_items_are_named_and_skipped(trained):
    first = trained.task.items[0]
    with_unknown, without = trained.predict([f"{first} nothing", first])
    assert (with_unknown.items, with_unknown.unknown) == (without.items, ["nothing"])
    assert str(with_unknown).endswith("; unknown: nothing")
    (empty,) = trained.predict([""])
    counts = dict(zip(trained.task.items, trained.task.counts.tolist(), strict=True))
    popular = [counts[item] for item in empty.items]
    assert popular == sorted(counts.values(), reverse=True)[: len(popular)]


def test_known_users_lists_and_what_is_refused(trained, file):
    task = trained.task
    user = next(iter(task.vocabulary["users"]))
    whole = task.read(str(file), task.settings)
    assert [task.items[one] for one in task.vocabulary["users"][user]] == [whole.items[one] for one in whole.of(0)]
    found, listed = trained.predict([f"user:{user}"])[0], trained.read_inputs(str(file))[0]
    assert found.items == trained.predict([listed])[0].items
    within = [item for item in task.items if item not in found.items][:6]
    (some,) = trained.predict([f"user:{user}"], within=" ".join(within), exclude=within[0])
    assert set(some.items) <= set(within[1:])
    with pytest.raises(DataError, match="^user:nobody: the user must be one of the 40 that it keeps: got another one"):
        trained.predict(["user:nobody"])
    with pytest.raises(DataError, match="^the items of `within` must be known, at least one of them: got none that is"):
        trained.predict([""], within="nothing")
    with pytest.raises(DataError, match="^a history must be a text or a list of items: got a value of type int"):
        trained.predict([3])


def test_no_users_are_kept_where_that_is_wanted(file):
    _, task = task_of(file, "data.keep_users=false")
    assert task.vocabulary["users"] == {}
    with pytest.raises(DataError, match=r"the user must be kept in its folder \(data.keep_users\): got another one"):
        task.predict(task.build(), ["user:u1"], task.Options())


def test_three_parts_and_their_words(trained):
    assert set(trained.metrics["examples"]) == {"train", "validation", "test"}
    assert "the last item but one of each user, by which the best epoch is chosen, of " in trained.metrics["validation"]
    assert trained.metrics["validation"].endswith("; test: 40 users")
    methods = {"popularity", "Markov of the last item", "Markov of recent items", "item-item co-occurrence", "EASE"}
    assert methods == set(trained.metrics["baselines"])
    assert "those of a history removed" in trained.metrics["note"]


def test_right_items_that_are_not_known_are_not_found(trained):
    known = trained.task.items[:3]
    found = trained.evaluate((["u"] * 3 + ["v"] * 3, [*known, *known[:2], "new"], [1, 2, 3, 1, 2, 3]))
    assert found.details["unknown_targets"] == 1
    assert "1 right items are not known to the model: they count as not found." in found.note
    with pytest.raises(DataError, match="the items must be known, at least one of them: got 2 that are not"):
        trained.evaluate((["u", "u"], ["x", "y"], [1, 2]))


def test_times_that_the_model_needs(file, tmp_path):
    with pytest.raises(DataError, match=r"must have a column of times, which model.time_bias needs: got none"):
        task_of(file, "model.time_bias=true", "data.time=none")


def test_one_user_is_too_few(refused, tmp_path):
    (tmp_path / "data.txt").write_text("u a 1\nu b 2\nu c 3\n")
    line = refused("train", "recommend", "--data", tmp_path / "data.txt", "--out", tmp_path / "run")
    assert line == (
        f"{tmp_path}/data.txt: must hold at least 10 users with at least 3 items, to hold some out "
        "(or give --train and --valid): got 1 of 1"
    )


def test_baselines_by_hand():
    training = [np.array([0, 1, 2]), np.array([0, 1]), np.array([3, 2])]
    found = baseline_scores(training, 5)
    seen = [np.array([3, 0])]
    assert found["popularity"](seen).tolist() == [[2, 2, 2, 1, 0]]
    follows = found["Markov of the last item"](seen)[0]
    assert int(follows.argmax()) == 1
    assert float(follows[1]) == pytest.approx(2.5)
    together = found["item-item co-occurrence"](seen)[0]
    expected = [
        0,
        2,
        0.8 + 0.8 * 1,
        0,
        0,
    ]  # a pair at a distance of 2 counts .8, and so does an older item of a history
    assert together.tolist() == pytest.approx(expected, abs=1e-4)
    behind = found["Markov of recent items"](np.array([[2, 1]]))[0]
    assert behind.tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-4)
    weights = np.array([[1.0, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 0]])
    inverse = np.linalg.inv(weights.T @ weights + 100 * np.eye(5))
    ease = -inverse / np.diag(inverse)
    np.fill_diagonal(ease, 0)
    np.testing.assert_allclose(found["EASE"](seen)[0].numpy(), ease[3] + ease[0], atol=1e-5)


def test_a_part_is_read_as_it_is_predicted(trained, file):
    examples = trained.task.read(str(file), trained.task.settings, Reading("test", False, trained.task.vocabulary))
    inputs = trained.task.inputs(examples)
    assert len(inputs) == 40
    assert len(trained.predict(inputs)) == 40


def test_what_made_a_recommendation(trained):
    first, second = trained.task.items[:2]
    (section,) = trained.task.inspect(trained.model, [f"{first} {second} nothing"])
    assert section.layers[0].name == "what supports the recommendation"
    assert "Unknown, and skipped: nothing." in section.text
    (best,) = trained.predict([f"{first} {second} nothing"])
    assert section.text.startswith(f"{best.items[0]}: its score falls without an item of the history by ")
    with pytest.raises(
        DataError, match="a history to inspect must have at least one item that the model knows: got 'nothing'"
    ):
        trained.task.inspect(trained.model, ["nothing"])


def test_a_history_of_nothing_known_is_left_out_of_validation(trained):
    events = histories_of(["u", "u", "v", "v"], ["new", "i1", "i1", "i2"], [1, 2, 1, 2])
    batches = trained.task.batches(events, training=False)
    assert [len(rows) for rows in batches.order] == [1]
