import dataclasses
import io
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from heedful._errors import DataError, HeedfulError, SettingsError
from heedful.data.text import Characters, Subwords
from heedful.models.sampling import visible_from
from heedful.tasks import language_model as task
from heedful.tasks import language_pieces as pieces
from heedful.tasks.language_model import Settings, prepare
from heedful.tasks.language_view import written_section
from heedful.tasks.language_writer import Continuation, Filling, Writer
from heedful.training.settings import read_settings

VERSE = "the cat sat on the mat, and the rat sat on the hat.\n"
TEXT = VERSE * 12
SMALL = ("model.width=12", "model.heads=3", "model.hidden=20", "model.layers=2", "model.context=16")


def prepared(tmp_path, *settings, text=TEXT):
    file = tmp_path / "text.txt"
    file.write_text(text)
    return prepare(read_settings(Settings, None, [*SMALL, *settings]), {"data": str(file)}, Console(file=io.StringIO()))


@pytest.fixture
def writer(tmp_path):
    ready = prepared(tmp_path)
    return Writer(ready.model, ready.tokenizer)


@pytest.fixture
def filler(tmp_path):
    ready = prepared(tmp_path, "model.masked=true")
    return Writer(ready.model, ready.tokenizer)


@pytest.mark.parametrize("count", [1, 2, 7, 16, 17, 40, 41, 47, 48])
@pytest.mark.parametrize(("stride", "after"), [(16, 0), (8, 0), (8, 4), (1, 7)])
def test_each_place_is_asked_once_and_within_its_stretch(count, stride, after):
    length = min(16, count)
    spans = list(pieces.spans(count, length, min(stride, length), min(after, (length - min(stride, length)) // 2)))
    asked = [place for _, first, end in spans for place in range(first, end)]
    assert asked == list(range(count))
    for start, first, end in spans:
        assert 0 <= start <= first < end <= start + length <= count


@pytest.mark.parametrize("overlap", [True, False])
def test_nats_are_those_of_each_token_after_what_is_before_it(writer, overlap):
    ids = torch.from_numpy(writer.tokenizer.encode("the cat sat on the mat, and the rat"))
    context = writer.model.context
    expected = []
    for place in range(1, len(ids)):
        if overlap:
            start = max(math.ceil((place - context) / (context // 2)), 0) * (context // 2)
            start = min(start, max(len(ids) - 1 - context, 0))
        else:
            start = min((place - 1) // context * context, len(ids) - 1 - context)
        with torch.no_grad():
            logits = writer.model(ids[None, start:place])[0, -1]
        expected.append(F.cross_entropy(logits, ids[place]))
    torch.testing.assert_close(writer.nats(ids, overlap=overlap), torch.stack(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", ["characters", "subwords"])
def test_measures_are_of_characters(tmp_path, tokens):
    ready = prepared(tmp_path, f"data.tokens={tokens}", "data.vocabulary=280")
    writer = Writer(ready.model, ready.tokenizer)
    ids = ready.tokenizer.encode(VERSE)
    assert (len(ids) == len(VERSE)) is (tokens == "characters")
    nats = writer.nats(torch.tensor([ready.tokenizer.end, *ids.tolist()])).sum().item()
    assert writer.measures(VERSE) == pytest.approx({
        "nats_a_character": nats / len(VERSE),
        "bits_a_character": nats / len(VERSE) / math.log(2),
        "perplexity": math.exp(nats / len(ids)),
    })  # fmt: skip


def test_measures_of_gaps(filler):
    ids = torch.from_numpy(filler.tokenizer.encode(TEXT[:60]))
    hidden = pieces.hidden_places(60)
    assert torch.equal(hidden, pieces.hidden_places(60))
    windows = pieces.gaps_of(ids, hidden, filler.model.context, filler.tokenizer.mask)
    given, asked = windows[list(range(len(windows)))]
    seen = [place for row in asked for place in row[row != -100].tolist()]
    assert seen == ids[hidden].tolist()
    assert (given[asked != -100] == filler.tokenizer.mask).all()
    with torch.no_grad():
        logits = filler.model(given)[asked != -100]
    nats = F.cross_entropy(logits, ids[hidden]).item()
    right = (logits.argmax(-1) == ids[hidden]).float().mean().item()
    assert filler.measures(TEXT[:60]) == pytest.approx(
        {"nats_a_character": nats, "bits_a_character": nats / math.log(2), "accuracy": right}, rel=1e-4
    )


def test_a_gap_has_a_quarter_of_the_context_on_both_sides():
    text = torch.arange(5, 105)
    windows = pieces.gaps_of(text, torch.arange(100), 16, mask=2)
    for row in windows[list(range(len(windows)))][1]:
        places = (row != -100).nonzero()[:, 0]
        tokens = row[places]
        if tokens[0] != 5:
            assert places[0] >= 4
        if tokens[-1] != 104:
            assert places[-1] <= 11


def test_fifteen_in_a_hundred_are_hidden_as_bert_does():
    torch.manual_seed(0)
    tokens = torch.randint(4, 50, (200, 200))
    given, asked = pieces.hide(tokens, mask=2, size=50)
    assert asked.float().mean() == pytest.approx(0.15, abs=0.005)
    assert torch.equal(given[~asked], tokens[~asked])
    behind, same = (given == 2)[asked].float().mean(), (given == tokens)[asked].float().mean()
    assert behind == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / 46, abs=0.015)
    assert given[asked & (given != 2)].min() >= 4
    assert pieces.hide(torch.full((1, 1), 5), mask=2, size=50)[1].all()


def test_an_epoch_is_one_pass_cut_at_other_places():
    cuts, text = pieces.Cuts(103, 10, 4, seed=1), torch.arange(103)
    seen = []
    for epoch in (0, 1, 1):
        cuts.set_epoch(epoch)
        batches = list(cuts)
        assert [len(batch) for batch in batches] == [4, 4] == [4] * len(cuts)
        found = torch.cat([pieces.Pieces(text, 11)[batch] for batch in batches])
        assert found.shape == (8, 11)
        assert ((found[:, 1:] - found[:, :-1]) % 103 == 1).all()
        assert len(found[:, :-1].unique()) == 80
        seen.append(found)
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[0], seen[1])


def test_the_loss_is_that_of_the_next_token(writer):
    batch = torch.randint(4, 10, (3, 17))
    expected = torch.stack([
        F.cross_entropy(writer.model(row[None, :16])[0], row[1:]) for row in batch
    ]).mean()  # fmt: skip
    torch.testing.assert_close(task._causal_loss(writer.model, batch), expected)


def test_the_last_tenth_is_held_out_and_unknown_to_the_tokens(tmp_path):
    text = TEXT[:-20] + "§" * 20
    ready = prepared(tmp_path, text=text)
    assert ready.training + ready.validation == text
    assert len(ready.validation) == len(text) // 10
    assert ready.held_out == f"the last tenth of {tmp_path / 'text.txt'}, {len(text) // 10} characters"
    assert isinstance(ready.tokenizer, Characters)
    assert "§" not in ready.tokenizer.alphabet
    assert ready.model.training
    assert ready.checksum() != dataclasses.replace(ready, training=ready.training[:-1]).checksum()
    assert ready.checksum() == prepared(tmp_path, text=text).checksum()
    assert isinstance(prepared(tmp_path, "data.tokens=subwords", "data.vocabulary=280").tokenizer, Subwords)


@pytest.mark.parametrize(
    ("text", "settings", "error", "message"),
    [
        ("too short", [], DataError, r"text.txt: must have at least 10 characters, to hold a tenth out .*: got 9$"),
        ("long enough?", [], DataError, r"at least 16 tokens, one context \(model.context\): got 11$"),
        ("", [], DataError, r"text.txt: must hold text: got none"),
        (TEXT, ["model.width=10"], SettingsError, r"^\[model\]: `heads` must be a positive divisor of `width`: got 3 and 10"),
        (TEXT, ["data.vocabulary=99"], SettingsError, r"`data.vocabulary`: input should be greater than or equal to 260: got 99"),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path, text, settings, error, message):
    with pytest.raises(error, match=message):
        prepared(tmp_path, *settings, text=text)


def test_a_text_of_another_encoding_names_the_line(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"one\ntwo caf\xe9\n" * 9)
    with pytest.raises(DataError, match=r"text.txt:2: must be UTF-8: got byte 0xe9 at column 8"):
        prepare(Settings(), {"data": str(tmp_path / "text.txt")}, Console(file=io.StringIO()))


def test_continuations_are_what_the_model_writes(writer):
    found = writer.predict(["the", "", "a cat and a longer prompt than the context"], tokens=9, temperature=0.0)
    assert [prediction.prompt for prediction in found] == ["the", "", "a cat and a longer prompt than the context"]
    assert found[1] == Continuation("", "")
    for prediction in found[::2]:
        text = writer.tokenizer.encode(prediction.prompt).tolist()
        for letter in prediction.text:
            with torch.no_grad():
                logits = writer.model(torch.tensor([text[visible_from(len(text), 16) :]]))[0, -1]
            assert writer.tokenizer.decode([int(logits[4:].argmax()) + 4]) == letter
            text.append(int(logits[4:].argmax()) + 4)
        assert len(prediction.text) == 9
        assert str(prediction) == prediction.prompt + prediction.text == prediction.as_data()


def test_samples_differ_and_do_not_depend_on_what_is_asked_beside(writer):
    prompts = ["the", "cat", "", "on"]
    found = writer.predict(prompts, samples=2, tokens=12, temperature=2.0)
    assert [(p.prompt, p.sample) for p in found] == [(prompt, sample) for prompt in prompts for sample in (0, 1)]
    assert len({p.text for p in found}) == 7
    apart = [
        p
        for i, prompt in enumerate(prompts)
        for p in writer.predict(prompt, samples=2, tokens=12, temperature=2.0, first=i)
    ]
    assert apart == found
    assert writer.predict("the", tokens=12, temperature=2.0, seed=2) != writer.predict(
        "the", tokens=12, temperature=2.0
    )


def test_a_beginning_without_a_prompt(writer):
    text = writer.generate(tokens=7, temperature=0.0)
    with torch.no_grad():
        first = writer.model(torch.tensor([[writer.tokenizer.end]]))[0, -1, 4:].argmax()
    assert writer.tokenizer.encode(text)[0] == first + 4
    assert len(text) == 7


def test_characters_that_are_not_known(writer, filler):
    prediction = writer.predict("the Ж and Ω", tokens=3)[0]
    assert prediction.unknown == "ΩЖ"
    assert str(prediction).startswith("the Ж and Ω")
    assert filler.predict("Ж [MASK]t")[0].unknown == "Ж"
    assert filler.predict("Ж [MASK]t")[0].text[:2] == "Ж "
    assert writer.predict("the")[0].unknown == ""


def test_gaps_are_filled_and_the_rest_stays(filler):
    found = filler.predict(["", "no hat", "the [MASK]at s[MASK][MASK] on", "[MASK]"])
    assert found[:2] == [Filling("", "", [], []), Filling("no hat", "no hat", [], [])]
    first, second, third = found[2].gaps
    assert found[2].text == f"the {first}at s{second}{third} on"
    assert all(len(gap) == 1 and gap in TEXT for gap in found[2].gaps)
    assert all(0 < chance <= 1 for chance in found[2].probabilities)
    assert found[3].text == found[3].gaps[0]
    assert str(found[2]) == found[2].as_data() == found[2].text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "^`tokens` must be positive: got 0.$"),
        ({"samples": 0}, "^`samples` must be positive: got 0.$"),
        ({"temperature": -1.0}, "^`temperature` must be at least 0 and finite: got -1.0.$"),
        ({"top_p": 0.0}, "^`top_p` must be more than 0 and at most 1: got 0.0.$"),
        ({"top_k": -1}, "^`top_k` must be at least 0: got -1.$"),
    ],
)
def test_impossible_options(writer, options, message):
    with pytest.raises(HeedfulError, match=message):
        writer.predict([], **options)


def test_options_of_the_other_kind(filler):
    with pytest.raises(
        HeedfulError, match="`temperature` is for a model that goes on with a text: got 0.5 for a masked"
    ):
        filler.predict("[MASK]", temperature=0.5)


def test_what_each_token_looked_at(writer):
    section = written_section(writer, "the cat\n")
    whole = section.output
    assert whole.startswith("the cat\n")
    assert len(whole) == 8 + 8  # half of the context is written
    tokens, rows = section.sides[0].tokens, section.sides[section.layers[0].rows].tokens
    shown = whole.replace("\n", "⏎")
    assert list(tokens) == list(shown[:-1])
    assert rows == [f"{a} → {b}" for a, b in pairwise(shown)]
    assert [layer.kind for layer in section.layers] == ["self", "self", "rollout"]
    weights = section.layers[0].pairs.weights
    assert weights.sum(-1) == pytest.approx(1, abs=1e-3)
    assert not weights[:, 0, 1:].any()
    assert 0 < sum(chance for _, chance in section.predictions) <= 1
    long = written_section(writer, TEXT[:100])
    assert len(long.sides[0].tokens) == 16
    assert long.output.startswith(TEXT[91:100])


def test_what_the_gaps_looked_at(filler):
    section = written_section(filler, "the [MASK]at s[MASK]t")
    filling = filler.predict("the [MASK]at s[MASK]t")[0]
    assert section.output == filling.text
    assert section.sides[0].special == [4, 9]
    rows = section.sides[section.layers[0].rows].tokens
    assert [rows[4], rows[9]] == [f"[MASK] → {gap}" for gap in filling.gaps]
    long = written_section(filler, TEXT[:100] + "[MASK]" + TEXT[:50])
    assert "[MASK]" in long.sides[0].tokens
    assert len(long.sides[0].tokens) == 16
    assert written_section(filler, "no hat").predictions == []


def test_nothing_to_look_at(writer):
    with pytest.raises(HeedfulError, match="a text to look at must have at least one token: got an empty one"):
        written_section(writer, "")
