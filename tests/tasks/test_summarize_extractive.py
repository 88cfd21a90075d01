import pytest
import torch

from heedful._errors import DataError, SettingsError
from heedful.data.text.documents import SummaryExamples
from heedful.tasks.contract import Reading
from heedful.tasks.summarize_extractive import ExtractedSummary, SummarizeExtractive
from heedful.training.settings import settings_of
from tests import languages

SMALL = (
    "model.width=16", "model.heads=2", "model.ffn_width=16", "model.dropout=0", "model.ensemble_size=2", "model.num_sentences=2",
    "model.pooling_heads=2", "model.min_count=1",
)  # fmt: skip


def untrained(*settings):
    """A task with a model of random weights."""
    rows = languages.documents(12)
    documents = SummaryExamples([row["source"] for row in rows], [[row["target"]] for row in rows], None, ["x"] * 12)
    settings = settings_of(SummarizeExtractive.Settings, [*SMALL, *settings])
    task = SummarizeExtractive(settings, SummarizeExtractive.learn(documents, settings))
    torch.manual_seed(0)
    return task, task.build().eval()


def predict(task, model, documents, **options):
    return task.predict(model, documents, task.Options(**options))


def test_a_line_of_what_was_chosen():
    one = ExtractedSummary("x", "A dog.\nTwo.", [0, 2], [0.5, 0.25])
    assert (str(one), one.to_format()) == ("A dog. Two.", "A dog. Two.")
    assert str(ExtractedSummary("x", "A dog.", [0], [0.5], scored=True)) == "A dog.\t0.5000"


def test_the_most_probable_sentences_in_their_order():
    task, model = untrained()
    documents = [["Dog sees cat.", "Man eats.", " ", "Old car has dog."], [], ["Cat."]]
    probabilities = task.probabilities(model, [task.sentences(documents[0])])[0]
    first, empty, last = predict(task, model, documents)
    assert first.sentences == sorted(probabilities.argsort(descending=True)[:2].tolist())
    assert first.probabilities == pytest.approx(probabilities[first.sentences].tolist(), abs=1e-5)
    assert first.output == " ".join(["Dog sees cat.", "Man eats.", "Old car has dog."][i] for i in first.sentences)
    assert (empty.output, empty.sentences) == ("", [])
    assert (last.output, last.probabilities) == ("Cat.", [pytest.approx(1)])
    assert [len(one.sentences) for one in predict(task, model, documents, num_sentences=1)] == [1, 0, 1]
    assert probabilities.sum().item() == pytest.approx(1)


def test_a_text_is_cut_into_sentences():
    task, model = untrained()
    (one,) = predict(task, model, ["Dog sees cat. Man eats. Old car has dog."], num_sentences=3)
    assert one.sentences == [0, 1, 2]
    assert one.output == one.input == "Dog sees cat. Man eats. Old car has dog."


def test_too_many_words_for_learned_positions():
    task, model = untrained("model.positions=learned", "model.max_positions=3")
    assert predict(task, model, ["Dog eats car"])[0].output == "Dog eats car"
    message = r"^a sentence must have at most 3 words \(model.max_positions\): got 4, 'Dog eats old car'"
    with pytest.raises(DataError, match=message.replace("got 4, 'Dog eats old car'", "got 4, 'Dog")):
        predict(task, model, ["Cat", "Dog eats old car"])
    documents = SummaryExamples([["Cat", "Dog eats old car"]], [["x"]], None, ["file:7"])
    with pytest.raises(DataError, match="^file:7: a sentence must have at most 3 words"):
        task.check(documents)


def test_labels_alone_make_the_summaries(tmp_path):
    file = languages.papers(tmp_path / "papers.jsonl", 12)
    rows = languages.documents(12)
    settings = settings_of(SummarizeExtractive.Settings, ["data.labels=labels", "data.target="])
    for source in (str(file), rows):
        documents = SummarizeExtractive.read(source, settings)
        assert documents.references == [[row["source"][row["labels"].index(1)]] for row in rows]
        assert len(documents) == 12
    # Where there are summaries, labels are learned from, and summaries are measured by.
    settings = settings_of(SummarizeExtractive.Settings, ["data.labels=labels"])
    training = SummarizeExtractive.read(str(file), settings)
    assert training.labels[0] == [bool(label) for label in rows[0]["labels"]]
    assert SummarizeExtractive.read(str(file), settings, Reading("test", vocabulary={})).labels is None
    assert training.references == [[row["target"]] for row in rows]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.target="], "`data.target`: must name the summaries where data.labels names no labels: got ''"),
        (["data.target=source"], "`data.target`: must be another one than data.source: got 'source' for both"),
    ],
)
def test_columns_that_contradict_each_other(words, message):
    with pytest.raises(SettingsError, match=message):
        SummarizeExtractive.read("x.jsonl", settings_of(SummarizeExtractive.Settings, words))
