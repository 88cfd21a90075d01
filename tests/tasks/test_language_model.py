import math

import pytest
import torch
import torch.nn.functional as F

from heedful._errors import DataError, SettingsError
from heedful.data.text import Characters, Subwords
from heedful.data.text.plain import PlainText
from heedful.models.sampling import context_start
from heedful.tasks.language_model import Continuation, FilledText, ModelLanguage
from heedful.tasks.sources import checksum, prepare
from heedful.training.settings import settings_of

VERSE = "the cat sat on the mat, and the rat sat on the hat.\n"
TEXT = VERSE * 12
SMALL = ("model.width=12", "model.heads=3", "model.ffn_width=20", "model.layers=2", "model.context_length=16")


def prepared(tmp_path, *settings, text=TEXT):
    file = tmp_path / "text.txt"
    file.write_text(text)
    return prepare(ModelLanguage, settings_of(ModelLanguage.Settings, [*SMALL, *settings]), {"data": str(file)})


class Untrained:
    """A task with a model of random weights."""

    def __init__(self, tmp_path, *settings):
        torch.manual_seed(0)
        _, self.task = prepared(tmp_path, *settings)
        self.model = self.task.build().eval()

    def predict(self, inputs, numbers=None, **options):
        return self.task.predict(self.model, inputs, self.task.Options(**options), numbers)


@pytest.fixture
def causal(tmp_path):
    return Untrained(tmp_path)


@pytest.fixture
def masked(tmp_path):
    return Untrained(tmp_path, "model.objective=masked")


def test_the_likelihood_is_of_each_token_after_half_a_context_or_more(causal):
    text = "the cat sat on the mat, and the rat"
    task, model = causal.task, causal.model
    ids = torch.tensor([task.tokenizer.end, *task.tokenizer.encode(text).tolist()])
    context = model.context_length
    expected = []
    for position in range(1, len(ids)):
        start = max(math.ceil((position - context) / (context // 2)), 0) * (context // 2)
        start = min(start, max(len(ids) - 1 - context, 0))
        with torch.no_grad():
            logits = model(ids[None, start:position])[0, -1]
        expected.append(F.cross_entropy(logits, ids[position]))
    nats = torch.from_numpy(task.likelihood(model, PlainText(text)).nats)
    torch.testing.assert_close(nats, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_the_loss_of_an_epoch_is_over_windows_side_by_side(causal):
    task, model = causal.task, causal.model
    batches = task.batches(PlainText(TEXT[:40]), training=False)
    totals = [task.validate(model, batches.make(rows))["loss"] for rows in batches.order]
    assert sum(mean.count for mean in totals) == 40
    ids = torch.tensor([task.tokenizer.end, *task.tokenizer.encode(TEXT[:40]).tolist()])
    expected = 0.0
    for position in range(1, 41):
        start = min((position - 1) // 16 * 16, 40 - 16)
        with torch.no_grad():
            expected += F.cross_entropy(model(ids[None, start:position])[0, -1], ids[position]).item()
    assert sum(mean.total.item() for mean in totals) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("tokenizer", ["characters", "subwords"])
def test_metrics_are_of_characters(tmp_path, tokenizer):
    untrained = Untrained(tmp_path, f"data.tokenizer={tokenizer}", "data.vocabulary_size=280")
    task, verse = untrained.task, PlainText(VERSE)
    count = len(task.tokenizer.encode(VERSE))
    assert (count == len(VERSE)) is (tokenizer == "characters")
    prediction = task.likelihood(untrained.model, verse)
    scores = task.score([prediction], verse)
    nats = prediction.nats.sum()
    assert {name: metric.value for name, metric in scores.metrics.items()} == pytest.approx({
        "nats_per_character": nats / len(VERSE),
        "bits_per_character": nats / len(VERSE) / math.log(2),
        "perplexity": math.exp(nats / count),
    })  # fmt: skip
    assert scores.details == {"tokens": count}


def test_metrics_of_masked_tokens(masked):
    task, text = masked.task, PlainText(TEXT[:60])
    batches = task.batches(text, training=False)
    (rows,) = batches.order
    tokens, targets = batches.make(rows)
    chosen = targets != -100
    with torch.no_grad():
        logits = masked.model(tokens)[chosen]
    truth = targets[chosen]
    nats, right = F.cross_entropy(logits, truth).item(), (logits.argmax(-1) == truth).float().mean().item()
    metrics = task.score(masked.predict([text]), text).metrics
    assert {name: metric.value for name, metric in metrics.items()} == pytest.approx(
        {"nats_per_character": nats, "bits_per_character": nats / math.log(2), "accuracy": right}, rel=1e-4
    )


def test_characters_that_the_model_does_not_know_are_told(causal):
    text = PlainText("the Ж cat Ω\n")
    note = causal.task.score(causal.predict([text]), text).note
    assert note == "16.7 % of the characters are of 2 kinds that the model does not know."


def test_the_loss_is_that_of_the_next_token(causal):
    batch = torch.randint(4, 10, (3, 17))
    expected = torch.stack([F.cross_entropy(causal.model(row[None, :16])[0], row[1:]) for row in batch]).mean()
    torch.testing.assert_close(causal.task.loss(causal.model, batch, ""), expected)


def test_the_last_tenth_is_held_out_and_unknown_to_the_tokens(tmp_path):
    text = TEXT[:-20] + "§" * 20
    parts, task = prepared(tmp_path, text=text)
    assert parts.training.text + parts.validation.text == text
    assert len(parts.validation) == len(text) // 10
    count = len(text) // 10
    assert parts.held_out == f"the last tenth of {tmp_path / 'text.txt'}, {count} characters"
    assert isinstance(task.tokenizer, Characters)
    assert "§" not in task.tokenizer.alphabet
    assert task.build().training
    assert checksum(parts.training) != checksum(parts.training.select(range(1, len(parts.training))))
    assert checksum(parts.training) == checksum(prepared(tmp_path, text=text)[0].training)
    assert isinstance(prepared(tmp_path, "data.tokenizer=subwords", "data.vocabulary_size=280")[1].tokenizer, Subwords)


@pytest.mark.parametrize(
    ("text", "settings", "error", "message"),
    [
        ("too short", [], DataError, r"text.txt: must have at least 10 characters, to hold a tenth out .*: got 9$"),
        ("long enough?", [], DataError, r"text.txt: .*at least 16 tokens \(model.context_length\): got 11$"),
        ("", [], DataError, r"text.txt: must hold text: got none"),
        (TEXT, ["data.vocabulary_size=99"], SettingsError, r"^`data.vocabulary_size`: input should be .* 260: got 99"),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path, text, settings, error, message):
    with pytest.raises(error, match=message):
        prepared(tmp_path, *settings, text=text)


def test_settings_that_do_not_fit_each_other(tmp_path):
    with pytest.raises(ValueError, match="`heads` must be a positive divisor of `width`: got 3 and 10"):
        prepared(tmp_path, "model.width=10")[1].build()


def test_a_text_of_another_encoding_names_the_line(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"one\ntwo caf\xe9\n" * 9)
    with pytest.raises(DataError, match=r"text.txt:2: must be UTF-8: got byte 0xe9 at column 8"):
        prepare(ModelLanguage, ModelLanguage.Settings(), {"data": str(tmp_path / "text.txt")})


def test_continuations_are_what_the_model_writes(causal):
    prompts = ["the", "", "a cat and a longer prompt than the context"]
    predictions = causal.predict(prompts, max_new_tokens=9, temperature=0.0)
    assert [prediction.input for prediction in predictions] == prompts
    assert predictions[1] == Continuation("", "")
    decode = causal.task.tokenizer.decode
    for prediction in predictions[::2]:
        text = causal.task.tokenizer.encode(prediction.input).tolist()
        for letter in prediction.output:
            with torch.no_grad():
                logits = causal.model(torch.tensor([text[context_start(len(text), 16) :]]))[0, -1]
            best = int(logits[4:].argmax()) + 4
            assert decode([best]) == letter
            text.append(best)
        assert len(prediction.output) == 9
        assert str(prediction) == prediction.input + prediction.output == prediction.to_format()


def test_samples_differ_and_do_not_depend_on_what_is_asked_beside(causal):
    prompts, options = ["the", "cat", "", "on"], {"num_samples": 2, "max_new_tokens": 12, "temperature": 2.0}
    predictions = causal.predict(prompts, **options)
    assert [(p.input, p.sample) for p in predictions] == [(prompt, sample) for prompt in prompts for sample in (0, 1)]
    assert len({p.output for p in predictions}) == 7
    apart = [p for i, prompt in enumerate(prompts) for p in causal.predict([prompt], numbers=[i], **options)]
    assert apart == predictions
    assert causal.predict(["the"], seed=2, **options) != causal.predict(["the"], **options)


def test_a_beginning_without_a_prompt(causal):
    task, model = causal.task, causal.model
    options = task.Options(max_new_tokens=7, temperature=0.0)
    (written,) = task.generate(model, [[task.tokenizer.end]], options, [0])
    with torch.no_grad():
        first = model(torch.tensor([[task.tokenizer.end]]))[0, -1, 4:].argmax()
    assert written[0] == first + 4
    assert len(written) == 7


def test_characters_that_are_not_known(causal, masked):
    (prediction,) = causal.predict(["the Ж and Ω"], max_new_tokens=3)
    assert prediction.unknown == "ΩЖ"
    assert str(prediction).startswith("the Ж and Ω")
    (filled,) = masked.predict(["Ж [MASK]t"])
    assert (filled.unknown, filled.output[:2]) == ("Ж", "Ж ")
    assert causal.predict(["the"])[0].unknown == ""


def test_gaps_are_filled_and_the_rest_stays(masked):
    empty, whole, several, alone = masked.predict(["", "no hat", "the [MASK]at s[MASK][MASK] on", "[MASK]"])
    assert (empty, whole) == (FilledText("", "", [], []), FilledText("no hat", "no hat", [], []))
    first, second, third = several.fills
    assert several.output == f"the {first}at s{second}{third} on"
    assert all(len(fill) == 1 and fill in TEXT for fill in several.fills)
    assert all(0 < probability <= 1 for probability in several.probabilities)
    assert alone.output == alone.fills[0]
    assert str(several) == several.to_format() == several.output


def test_options_of_the_other_objective(masked):
    with pytest.raises(
        SettingsError, match="`temperature` is for a model that continues a text: got 0.5 for a masked one"
    ):
        masked.predict(["[MASK]"], temperature=0.5)


@pytest.mark.parametrize(
    ("characters", "settings", "epochs", "dropout"),
    [
        (1_000_000, (), 2, 0.0),
        (102_400, (), 15, 0.2),
        (102_400, ("training.batch_size=128",), 2, 0.0),
        (409_600, ("data.tokenizer=subwords",), 15, 0.2),
    ],
)
def test_settings_follow_the_data(characters, settings, epochs, dropout):
    text = PlainText("x" * characters)
    found = ModelLanguage.adapt(text, settings_of(ModelLanguage.Settings, settings))
    assert found == {"training.epochs": epochs, "model.dropout": dropout}
