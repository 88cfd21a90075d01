import pytest
import torch

from heedful._errors import HeedfulError
from heedful.data.text.documents import Summarized
from heedful.tasks import summarize
from heedful.tasks.sentence_extraction import Extracted, Extraction
from heedful.training.settings import read_settings
from tests import languages


@pytest.fixture
def extractor():
    settings = read_settings(
        summarize.Settings, None, [*languages.CHOOSES, "extraction.members=2", "extraction.sentences=2"]
    )
    rows = languages.documents(12)
    documents = Summarized([row["source"] for row in rows], [[row["target"]] for row in rows], None, ["x"] * 12)
    torch.manual_seed(0)
    return Extraction.of(settings, documents, documents).extractor()


def test_a_line_of_what_was_chosen():
    one = Extracted("x", "A dog.\nTwo.", [0, 2], [0.5, 0.25])
    assert (str(one), one.as_data()) == ("A dog. Two.", "A dog. Two.")
    assert str(Extracted("x", "A dog.", [0], [0.5], scored=True)) == "A dog.\t0.5000"


def test_the_most_probable_sentences_in_their_order(extractor):
    documents = [["Dog sees cat.", "Man eats.", " ", "Old car has dog."], [], ["Cat."]]
    chances = extractor.probabilities([extractor.sentences(documents[0])])[0]
    first, empty, last = extractor.predict(documents)
    assert first.sentences == sorted(chances.argsort(descending=True)[:2].tolist())
    assert first.probabilities == pytest.approx(chances[first.sentences].tolist(), abs=1e-5)
    assert first.output == " ".join(["Dog sees cat.", "Man eats.", "Old car has dog."][i] for i in first.sentences)
    assert (empty.output, empty.sentences) == ("", [])
    assert (last.output, last.probabilities) == ("Cat.", [pytest.approx(1)])
    assert [len(one.sentences) for one in extractor.predict(documents, n_best=1)] == [1, 0, 1]
    assert chances.sum().item() == pytest.approx(1)


def test_a_text_is_cut_into_sentences(extractor):
    (one,) = extractor.predict("Dog sees cat. Man eats. Old car has dog.", n_best=3)
    assert one.sentences == [0, 1, 2]
    assert one.output == one.text == "Dog sees cat. Man eats. Old car has dog."


def test_impossible_requests(extractor):
    with pytest.raises(HeedfulError, match=r"^`n_best` must be positive: got 0\.$"):
        extractor.predict([], n_best=0)
    extractor.room = 3
    assert extractor.predict("Dog eats car")[0].output == "Dog eats car"
    with pytest.raises(
        HeedfulError,
        match=r"^a sentence must have at most 3 words, the model's positions \(model\.longest\): got 4, 'Dog",
    ):
        extractor.predict(["Cat", "Dog eats old car"])
