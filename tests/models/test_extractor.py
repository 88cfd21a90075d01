import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from heedful.data.batch_types import SentenceBatch, TokenBatch
from heedful.data.text.documents import EncodedDocuments
from heedful.data.text.tokenization import Tokenization
from heedful.data.text.words import WordVocabulary
from heedful.models.encoders import attention_pattern, build_encoder
from heedful.models.ensemble import Ensemble
from heedful.models.extractor import SentenceExtractor, label_targets, soft_cross_entropy, soft_targets
from heedful.models.text_classifier import TokenEmbedding
from heedful.models.words import FastTextEmbedding

DOCUMENTS = [
    ["La kato dormas.", "Hundo bojas nun al la kato.", "Jen."],
    ["Kato."],
    ["Jen la hundo.", "La kato bojas.", "Hundo.", "La kato dormas.", "Nun."],
]


def extractor(tokens, seed=0, max_positions=3, **others):
    torch.manual_seed(seed)
    positions, encoder = build_encoder(width=12, heads=3, layers=1, ffn_width=11, positions="sinusoidal")
    document = build_encoder(width=12, heads=2, layers=1, ffn_width=7, positions="none").layers
    model = SentenceExtractor(
        tokens=tokens, positions=positions, encoder=encoder, pattern=attention_pattern(2), pooling_heads=2, document=document,
        max_positions=max_positions, **others,
    )  # fmt: skip
    for weights in (model.pooling.query, model.from_start.weight, model.from_end.weight, model.query.weight):
        torch.nn.init.normal_(weights)
    return model.eval()


def words():
    vocabulary = WordVocabulary.fit([sentence.split() for document in DOCUMENTS for sentence in document])

    def batch(documents):
        return EncodedDocuments(Tokenization(vocabulary), documents).batch(range(len(documents)))

    return FastTextEmbedding(len(vocabulary.words), len(vocabulary.char_ngrams), 12), batch


def pieces():
    def batch(documents):
        rows = [
            torch.tensor([len(word) for word in sentence.split()]) for document in documents for sentence in document
        ]
        tokens = TokenBatch(pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))
        return SentenceBatch(tokens, torch.tensor([len(document) for document in documents]))

    return TokenEmbedding(8, 12), batch


@pytest.mark.parametrize("kind", [words, pieces])
def test_a_document_in_a_batch_is_that_document_alone(kind):
    tokens, batch = kind()
    model = extractor(tokens)
    with torch.no_grad():
        together = model(batch(DOCUMENTS))
        assert together.shape == (3, 5)
        for row, document in enumerate(DOCUMENTS):
            alone = model(batch([document]))[0]
            torch.testing.assert_close(together[row, : len(document)], alone, atol=1e-5, rtol=1e-5)
            assert (together[row, len(document) :] == -torch.inf).all()


def test_without_places_the_order_of_sentences_does_not_matter_and_with_them_it_does():
    tokens, batch = words()
    model = extractor(tokens)
    document, order = DOCUMENTS[2], [3, 0, 4, 2, 1]
    given, moved = batch([document]), batch([[document[i] for i in order]])
    with torch.no_grad():
        assert not torch.allclose(model(given)[0, order], model(moved)[0], atol=1e-3)
        for table in (model.from_start, model.from_end):
            torch.nn.init.zeros_(table.weight)
        torch.testing.assert_close(model(given)[0, order], model(moved)[0], atol=1e-5, rtol=1e-5)


def test_places_are_counted_from_either_end_and_those_beyond_share_one():
    tokens, batch = words()
    given = batch([["Kato."] * 7, ["Kato."] * 6])
    logits = {}
    for table in ("from_start", "from_end"):
        model = extractor(tokens)
        torch.nn.init.zeros_(getattr(model, {"from_start": "from_end", "from_end": "from_start"}[table]).weight)
        model.document.requires_grad_(False)
        with torch.no_grad():
            logits[table] = [row[row > -torch.inf] for row in model(given)]
    for row in logits["from_start"]:
        torch.testing.assert_close(row[2:], row[2:3].expand(len(row) - 2))
        assert len({round(value, 4) for value in row.tolist()}) == 3
    for row in logits["from_end"]:
        torch.testing.assert_close(row[:-2], row[:1].expand(len(row) - 2))
        assert len({round(value, 4) for value in row.tolist()}) == 3


def test_a_sentence_is_read_by_itself_and_judged_beside_the_others():
    tokens, batch = words()
    model = extractor(tokens)
    changed = [[*DOCUMENTS[2][:4], "Hundo bojas."]]
    with torch.no_grad():
        one, other = (model(batch(documents)) for documents in (DOCUMENTS[2:], changed))
        assert (one != other).all()
        for layer in model.document.layers:
            torch.nn.init.zeros_(layer.attention.out_proj.weight)
        one, other = (model(batch(documents)) for documents in (DOCUMENTS[2:], changed))
        assert ((one - other).abs() > 1e-4).tolist() == [[False, False, False, False, True]]


def test_what_is_hidden_is_not_seen():
    tokens, _ = pieces()
    model = extractor(tokens)
    torch.nn.init.normal_(model.mask_vector)
    masked = torch.tensor([[False, True, False], [False, False, False]])
    one, other = (
        SentenceBatch(TokenBatch(torch.tensor([[1, t, 3], [4, 5, 6]]), torch.tensor([3, 3])), torch.tensor([2]))
        for t in (2, 5)
    )
    with torch.no_grad():
        assert torch.equal(model(one, masked), model(other, masked))
        assert not torch.equal(model(one, masked), model(one))
        training = extractor(tokens, token_dropout=0.999999).train()
        assert torch.equal(training(one), training(other))


def test_an_ensemble_is_the_mean_of_its_members():
    _, batch = pieces()
    members = [extractor(TokenEmbedding(8, 12), seed) for seed in (1, 2)]
    model, given = Ensemble(members), batch(DOCUMENTS)
    with torch.no_grad():
        expected = sum(member(given).softmax(-1) for member in members) / 2
        torch.testing.assert_close(model.probabilities(given), expected)
        torch.testing.assert_close(expected.sum(-1), torch.ones(3))
        assert model(given).shape == (2, 3, 5)


def test_the_loss_is_the_cross_entropy_of_the_choice():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, dtype=torch.float64).float()
    logits[:, 1, 2:] = logits[:, 2, 3:] = -torch.inf
    logits.requires_grad_()
    wanted = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0, 0], [0, 0, 0, 0]])
    expected = 0.0
    for member in logits.detach().tolist():
        for row, share in zip(member, wanted.tolist(), strict=True):
            total = torch.tensor(row).exp().sum().log().item()
            expected += sum(-p * (value - total) for value, p in zip(row, share, strict=True) if p) / 3
    loss = soft_cross_entropy(logits, wanted)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 2] == 0).all()


def test_the_soft_choice_of_a_low_temperature_is_the_best_sentence():
    cold = soft_targets([[0.1, 0.3, 0.2], [0.2, 0.1]], temperature=0.001)
    torch.testing.assert_close(cold, torch.tensor([[0.0, 1, 0], [1, 0, 0]]))
    with pytest.raises(ValueError, match="`temperature` must be positive: got 0"):
        soft_targets([[0.1]], temperature=0.0)


def test_it_learns_which_sentence_is_wanted():
    torch.manual_seed(0)
    tokens, batch = pieces()
    model = extractor(tokens).train()
    given, wanted = batch(DOCUMENTS), label_targets([[False, True, False], [True], [False, False, False, True, False]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(12):
        optimizer.zero_grad()
        loss = soft_cross_entropy(model(given), wanted)
        loss.backward()
        optimizer.step()
    assert loss < 0.3
    assert model(given).argmax(-1).tolist() == [1, 0, 3]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_positions", 0, "`max_positions` must be positive: got 0"),
        ("token_dropout", 1.0, "`token_dropout` must be at least 0 and less than 1: got 1.0"),
    ],
)
def test_bad_values(name, value, message):
    with pytest.raises(ValueError, match=message):
        extractor(TokenEmbedding(8, 12), **{name: value})
