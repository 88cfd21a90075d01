"""Going on from a run: which rows are taken, what stays as it is, and what is refused."""

import json
import shutil
import tomllib

import pytest
import torch

import heedful
from heedful._errors import RunFolderError, SettingsError
from heedful.data.text.tokenizers import load as load_tokenizer
from heedful.tasks.run import load
from heedful.tasks.transfer import Names, Transfer
from tests.tiny import TINY, Killed, draw, killing
from tests.toys import Adversaries, Average

TEXTS = [f"a {word} film {row}" for row in range(20) for word in ("fine", "dull")]
LABELS = ["good", "bad"] * 20
SMALL = {
    "training.epochs": 1,
    "model.linear": False,
    "model.ensemble_size": 1,
    "model.width": 12,
    "model.heads": 2,
    "model.pooling_heads": 2,
}
OTHERS = ([f"an odd {word} play" for word in ("fine", "dull", "long")] * 10, ["good", "bad", "odd"] * 10)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run on texts; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "base"
    return heedful.train("classify", (TEXTS, LABELS), settings=SMALL, out=out, progress=False)


def further(base, data=OTHERS, progress=False, **settings):
    chosen = {key.replace("__", "."): value for key, value in settings.items()}
    return heedful.train("classify", data, from_=base, settings=chosen, progress=progress)


def test_words_of_both_are_known_and_labels_of_the_data(base):
    model = further(base)
    known, own = base.task.vocabulary, model.task.vocabulary
    assert own["classes"] == ["bad", "good", "odd"]
    assert own["words"].keys() == {*known["words"], "an", "odd", "play", "long"}
    assert own["words"]["fine"] == known["words"]["fine"] + 9  # one of ten is held out
    assert list(own["words"].values()) == sorted(own["words"].values(), reverse=True)
    assert {*known["char_ngrams"]} < {*own["char_ngrams"]}
    found = model.metrics["transfer"]
    assert found["rows"]["labels"] == {"known": 2, "new": 1, "left": 0}
    assert found["tensors"]["partial"]["members.0.head.weight"] == [2, 3]
    assert found["tensors"]["new"] == found["tensors"]["left"] == []


def test_its_settings_are_those_of_the_run_unless_they_are_changed(base):
    model = further(base, model__layers=2, training__epochs=2)
    config = tomllib.loads(model.folder.config().read_text())
    assert (config["model"]["width"], config["model"]["layers"], config["training"]["epochs"]) == (12, 2, 2)
    new = model.metrics["transfer"]["tensors"]["new"]
    assert new
    assert all(".encoder.layers.1." in name for name in new)
    first = heedful.train("classify", (TEXTS, LABELS), settings=SMALL | {"training.max_examples": 30}, progress=False)
    again = further(first, transfer__frozen=True)
    assert again.task.settings.training.max_examples == 0
    assert again.metrics["examples"]["train"] == 27
    assert further(again).task.settings.transfer.frozen is False


def test_a_batch_size_that_is_found_for_a_frozen_run(base):
    model = further(base, transfer__frozen=True, training__batch_size="auto")
    before = base.model.state_dict()
    changed = [name for name, after in model.model.state_dict().items() if not torch.equal(after, before[name])]
    assert changed == ["members.0.head.weight", "members.0.head.bias"]
    assert isinstance(model.task.settings.training.batch_size, int)


def test_what_is_frozen_stays_as_it_is_and_labels_are_trained(base):
    model = further(base, transfer__frozen=True, training__epochs=2)
    assert model.task.vocabulary["words"] == base.task.vocabulary["words"]
    before = base.model.state_dict()
    changed = [name for name, after in model.model.state_dict().items() if not torch.equal(after, before[name])]
    assert changed == ["members.0.head.weight", "members.0.head.bias"]


def test_frozen_norms_keep_their_statistics(tmp_path):
    settings = [*TINY, "training.epochs=1"]
    first = heedful.train("classify-image", str(draw(tmp_path / "a")), settings=settings, progress=False)
    other = str(draw(tmp_path / "b", classes=("dark", "middle", "light")))
    model = heedful.train("classify-image", other, from_=first, settings=["transfer.frozen=true"], progress=False)
    before = first.model.state_dict()
    changed = [name for name, after in model.model.state_dict().items() if not torch.equal(after, before[name])]
    assert changed == ["head.weight", "head.bias"]
    assert model.task.vocabulary["mean"] == first.task.vocabulary["mean"]


def test_a_learning_rate_for_what_was_there(base):
    """AdamW's first steps are as long as the rate, whatever the gradient."""
    model = further(base, transfer__learning_rate=1e-7, training__weight_decay=0.0, training__ema_decay=0.0)
    before, after = base.model.state_dict(), model.model.state_dict()
    old = {name: (after[name] - before[name]).abs().max() for name in after if ".encoder." in name}
    assert 0 < max(old.values()) < 1e-6
    rows = [model.task.classes.index(label) for label in base.task.classes]
    assert (after["members.0.head.weight"][rows] - before["members.0.head.weight"]).abs().max() > 1e-4


def test_rates():
    settings = heedful.tasks.classify.ClassifySettings.model_validate(
        {"training": {"learning_rate": 0.01}, "transfer": {"learning_rate": 0.001, "frozen": True}}
    )
    taken = Transfer("run", {}, whole=["a", "head"], partial={"b": (1, 2)}, new=["c"], labels={"head"})
    rates = {name: taken.rate(name, settings) for name in ("a", "b", "c", "head")}
    assert rates == {"a": 0.0, "b": pytest.approx(0.1), "c": 1.0, "head": 1.0}
    plain = settings.model_copy(update={"transfer": heedful.training.settings.TransferSettings()})
    assert {taken.rate(name, plain) for name in rates} == {1.0}


def test_what_is_taken_is_printed(base, capsys):
    further(base, data=([*OTHERS[0][:20]], ["good", "odd"] * 10), progress=True)
    lines = capsys.readouterr().out.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith(f"from {base.folder.path}: ")]
    assert lines[first].endswith("tensors whole, 4 in part; 0 are new")
    assert "  labels: 1 of 2 are known; new: 'odd'; left behind: 'bad'" in lines[first:]


def test_the_summary_names_what_is_left_behind():
    names = {"words": Names(["a"], ["b", "c"], ["d"])}
    taken = Transfer("run", names, whole=["x"], new=["y"], left=["1", "2", "3", "4"], taken=3, count=4)
    assert taken.lines() == [
        "from run: 75.0 % of 4 numbers are taken: 1 tensors whole, 0 in part; 1 are new",
        "  words: 1 of 3 are known; 1 are left behind",
        "  new: y",
        "  left behind: 1, 2, 3 and 1 more",
    ]


@pytest.mark.parametrize(("tokenizer", "size"), [("characters", 4000), ("subwords", 300), ("subwords", 320)])
def test_tokenizers(tokenizer, size):
    """Characters of both; subwords as they are, so that each keeps its meaning, or anew where another number is asked for."""
    first = heedful.train(
        "classify", (TEXTS, LABELS), progress=False,
        settings=SMALL | {"data.tokenizer": tokenizer, "data.vocabulary_size": 300},
    )  # fmt: skip
    model = further(first, data__vocabulary_size=size)
    known, own = (load_tokenizer(one.task.vocabulary["tokenizer"]).tokens for one in (first, model))
    assert len(own) == len(set(own))
    if tokenizer == "characters":
        assert set(own) == {*known, *"opylg"} - {"opylg"}
    else:
        assert (own == known) == (size == 300)
    rows = [(own.index(token), known.index(token)) for token in own if token in known]
    assert model.metrics["transfer"]["rows"]["tokens"]["known"] == len(rows) > 20


def test_positions_that_both_have():
    settings = SMALL | {"model.positions": "learned", "model.max_positions": 20}
    first = heedful.train("classify", (TEXTS, LABELS), settings=settings, progress=False)
    found = further(first, model__max_positions=30).metrics["transfer"]
    assert found["tensors"]["partial"]["members.0.positions.table"] == [20, 30]


def test_labels_of_which_none_is_known(base):
    data = (OTHERS[0], ["ja", "nein", "vielleicht"] * 10)
    with pytest.raises(
        RunFolderError,
        match=f"{base.folder.path}: none of its labels, 'bad', 'good', is one of the data's, 'ja', 'nein', 'vielleicht': "
        "name them alike, or begin them anew with transfer.labels=new.",
    ):
        further(base, data)
    found = further(base, data, transfer__labels="new").metrics["transfer"]
    assert found["rows"]["labels"] == {"known": 0, "new": 3, "left": 2}
    assert found["tensors"]["new"] == ["members.0.head.weight", "members.0.head.bias"]


def test_auxiliary_labels_are_those_of_the_same_column(tmp_path):
    from tests import texts

    file = texts.conllu(tmp_path / "data.conllu", 20)
    small = {"training.epochs": 1, "model.layers": 1, "model.width": 12, "model.heads": 2}
    first = heedful.train("tag", file, settings=small | {"data.auxiliary_columns": ["XPOS"]}, progress=False)
    model = heedful.train("tag", file, from_=first, settings={"data.auxiliary_columns": ["DEPREL"]}, progress=False)
    assert model.metrics["transfer"]["tensors"]["new"] == ["heads.1.weight", "heads.1.bias"]


def test_refused(base, trained, refused, tmp_path):
    data = tmp_path / "data.tsv"
    data.write_text("".join(f"{text}\t{label}\n" for text, label in zip(*OTHERS, strict=True)))
    words = ("train", "classify", "--data", data, "--out", tmp_path / "run")
    run = base.folder.path
    told = f"{trained}: is a run of classify-image: a training of classify cannot go on from it."
    assert refused(*words, "--from", trained) == told
    gone = tmp_path / "none"
    told = f"{gone}: must be a run folder, as `heedful train ... --out` makes it: there is no such folder."
    assert refused(*words, "--from", gone) == told
    told = "`transfer.frozen`: is for a training that goes on from a run, --from: got True without one."
    assert refused(*words, "--set", "transfer.frozen=true") == told
    told = f"{run}: none of its weights fits the model of these settings."
    alone = ("--set", "model.width=20", "--set", "model.ffn_width=20", "--set", "transfer.labels=new")
    assert refused(*words, "--from", run, *alone, "--set", "data.tokenizer=characters") == told
    assert not (tmp_path / "run").exists()


def test_something_must_be_left_to_be_trained():
    text = ["the cat sat on the mat. "] * 20
    tiny = {"training.epochs": 1, "model.context_length": 16, "model.width": 12, "model.heads": 2, "model.layers": 1}
    first = heedful.train("language-model", text, settings=tiny, progress=False)
    rule = "`transfer.frozen`: something must be left to be trained: all of the model is taken as it is."
    with pytest.raises(SettingsError, match=rule):
        heedful.train("language-model", text, from_=first, settings={"transfer.frozen": True}, progress=False)


def test_a_task_that_does_not_name_its_rows():
    first = heedful.train(Adversaries, [float(n) for n in range(30)], progress=False)
    assert (
        heedful.train(Adversaries, [2.0] * 30, from_=first, progress=False).metrics["transfer"]["tensors"]["new"] == []
    )
    first = heedful.train(Average, [1.0, 2.0, 3.0] * 4, progress=False)
    with pytest.raises(
        RunFolderError,
        match="has another vocabulary, and average does not say which weights belong to which of its names .`rows`.",
    ):
        heedful.train(Average, [2.0] * 12, from_=first, progress=False)


@pytest.fixture
def interrupted(base, monkeypatch, tmp_path):
    """A run that goes on from a copy of another one, and was killed."""
    first = tmp_path / "first"
    shutil.copytree(base.folder.path, first)
    data = tmp_path / "data.tsv"
    data.write_text("".join(f"{text}\t{label}\n" for text, label in zip(*OTHERS, strict=True)))
    with monkeypatch.context() as patch:
        killing(patch, "heedful.training.callbacks.CsvLog.on_train_epoch_end", 1)
        with pytest.raises(Killed):
            heedful.train("classify", data, from_=first, out=tmp_path / "run", progress=False)
    return tmp_path / "run"


def test_a_run_that_moved_is_named_again(interrupted, tmp_path):
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    with pytest.raises(RunFolderError, match=f"{tmp_path / 'first'}: must be a run folder"):
        heedful.train("classify", out=interrupted, resume=True, progress=False)
    model = heedful.train("classify", out=interrupted, from_=moved, resume=True, progress=False)
    assert model.folder.manifest()["base"]["run"] == str(moved)
    assert load(interrupted).metrics["transfer"]["from"] == str(moved)


def test_resuming_from_what_is_not_the_run_it_was_begun_from(base, interrupted, tmp_path):
    other = further(base)
    with pytest.raises(
        RunFolderError, match=f"was begun from another run than {other.folder.path}: the weights differ."
    ):
        heedful.train("classify", out=interrupted, from_=other, resume=True, progress=False)
    file = interrupted / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"signature": ""}))
    with pytest.raises(
        RunFolderError, match=f"was begun elsewhere: name again what it goes on from, --from {tmp_path}"
    ):
        heedful.train("classify", out=interrupted, resume=True, progress=False)
    with pytest.raises(RunFolderError, match="was not begun from a run: it cannot be resumed with --from."):
        heedful.train("classify", out=base.folder.path, from_=base, resume=True, progress=False)


@pytest.fixture(scope="module")
def linear_base(tmp_path_factory):
    """A run whose linear model of n-grams counts, too; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "linear"
    return heedful.train("classify", (TEXTS, LABELS), settings=SMALL | {"model.linear": True}, out=out, progress=False)


def of_ngrams(model):
    """The linear model's numbers, by n-gram and label."""
    names = model.task.rows()["linear.weight"].names
    return dict(zip(names, model.model.linear.weight.tolist(), strict=True))


def test_ngrams_that_both_know_keep_what_they_say_of_a_label(linear_base):
    before, after = of_ngrams(linear_base), of_ngrams(further(linear_base, training__learning_rate=1e-9))
    assert {"an odd good", "long play odd", "fine good"} <= after.keys()
    assert before.keys() - after.keys() == set()
    assert all(after[name] == pytest.approx(number, abs=1e-6) for name, number in before.items())
    assert before["fine good"] > 0


def test_frozen_it_knows_the_ngrams_of_the_run_and_goes_on_learning(linear_base):
    model = further(linear_base, transfer__frozen=True, training__epochs=3)
    assert {name.rsplit(" ", 1)[0] for name in of_ngrams(model)} == {
        name.rsplit(" ", 1)[0] for name in of_ngrams(linear_base)
    }
    before, after = of_ngrams(linear_base), of_ngrams(model)
    assert any(after[name] != before[name] for name in before)
    word = "members.0.tokens.word.weight"
    assert torch.equal(model.model.state_dict()[word], linear_base.model.state_dict()[word])


def test_labels_that_begin_anew_begin_so_in_the_linear_model(linear_base):
    settings = {"transfer__labels": "new", "training__learning_rate": 1e-9}
    after = of_ngrams(further(linear_base, ([*TEXTS], [*LABELS]), **settings))
    assert max(map(abs, after.values())) < 1e-6


@pytest.mark.parametrize("names", [[], ["x", "training.nothing", "model.width"], ["training.epochs"]])
def test_epochs_follow_the_new_data_where_they_followed_those_of_the_run(base, tmp_path, names, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(base.folder.path, run)
    manifest = json.loads((run / "run.json").read_text()) | {"automatic": names}
    (run / "run.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("heedful.tasks.classify.epochs_for", lambda *_, **__: 2)
    model = further(run)
    assert model.task.settings.training.epochs == (2 if "training.epochs" in names else 1)
