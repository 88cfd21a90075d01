"""Heads on a pretrained network: what they read of it, what is frozen, and rates by layer."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from heedful.data.batch_types import PieceBatch, TokenBatch
from heedful.models.pretrained import (
    PretrainedEncoder,
    PretrainedImageClassifier,
    PretrainedTagger,
    PretrainedTextClassifier,
    rates,
)
from tests.inspection import folders

BATCH = TokenBatch(torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 9, 9]]), torch.tensor([5, 3]))


class Network(nn.Module):
    """Says of each token its number, and what it was given."""

    def __init__(self, pad=1):
        super().__init__()
        self.config = SimpleNamespace(hidden_size=3, pad_token_id=pad)
        self.scale, self.given = nn.Parameter(torch.ones(3)), []

    def forward(self, input_ids, attention_mask):
        self.given.append((input_ids, attention_mask))
        return SimpleNamespace(last_hidden_state=input_ids[..., None] * self.scale)


def test_padding_is_the_networks_own_and_hidden():
    network = Network(pad=7)
    PretrainedEncoder(network)(*BATCH)
    ids, mask = network.given[0]
    assert ids.tolist() == [[2, 5, 6, 7, 3], [2, 8, 3, 7, 7]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    PretrainedEncoder(network)(BATCH.tokens[:1], BATCH.lengths[:1])
    assert network.given[1][1] is None


@pytest.mark.parametrize(("pooling", "expected"), [("class-token", [2.0, 2.0]), ("mean", [23 / 5, 13 / 3])])
def test_the_first_token_or_the_mean_of_all_without_padding(pooling, expected):
    model = PretrainedTextClassifier(PretrainedEncoder(Network(), frozen=True), pooling=pooling, classes=2)
    model.head = nn.Identity()
    torch.testing.assert_close(model(BATCH)[:, 0], torch.tensor(expected))


def test_a_layer_stands_between_the_first_token_and_the_head_where_the_encoder_learns():
    model = PretrainedTextClassifier(PretrainedEncoder(Network()), pooling="class-token", classes=2)
    model.head = nn.Identity()
    first = model.encoder(*BATCH)[:, 0].detach()
    expected = (first @ model.dense.weight.detach().T + model.dense.bias.detach()).tanh()
    torch.testing.assert_close(model(BATCH).detach(), expected)


def test_hidden_tokens_are_the_mask():
    network = Network()
    model = PretrainedTextClassifier(PretrainedEncoder(network), pooling="mean", classes=2, mask=4)
    model(BATCH, torch.tensor([False, True, False, False, False]))
    assert network.given[0][0].tolist() == [[2, 4, 6, 7, 3], [2, 4, 3, 1, 1]]


def test_a_word_is_its_first_token():
    model = PretrainedTagger(PretrainedEncoder(Network()), labels=[4, 2])
    words = PieceBatch(*BATCH, torch.tensor([[1, 3], [1, 0]]), torch.tensor([2, 1]))
    encoded = model(words)
    assert encoded[..., 0].tolist() == [[5, 7], [8, 2]]
    assert model.logits(encoded).shape == (2, 2, 4)
    assert model.logits(encoded, 1).shape == (2, 2, 2)


def test_a_frozen_network_stays_in_evaluation_mode():
    def modes(frozen):
        model = PretrainedTextClassifier(PretrainedEncoder(Network(), frozen=frozen), pooling="mean", classes=2).train()
        return model.training, model.encoder.network.training

    assert modes(True) == (True, False)
    assert modes(False) == (True, True)


def test_images_are_normalized_as_the_network_was_trained():
    class Sees(Network):
        def forward(self, pixel_values):
            return SimpleNamespace(last_hidden_state=pixel_values.flatten(2))

    model = PretrainedImageClassifier(PretrainedEncoder(Sees()), pooling="mean", channels=1, classes=2)
    model.mean.fill_(0.5)
    model.std.fill_(0.25)
    model.head = nn.Identity()
    assert model(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).tolist() == [[2.0, 2.0, 2.0]]
    model.encoder.network.forward = lambda pixel_values: SimpleNamespace(last_hidden_state=pixel_values)
    with pytest.raises(ValueError, match=r"must give a vector for each patch: got shape \[1, 1, 2, 3\]"):
        model(torch.zeros(1, 1, 2, 3))


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "modernbert", "vit"])
def test_rates_fall_from_the_last_layer_to_the_embeddings(name, tmp_path):
    from heedful.hugging_face.encoder import load_encoder

    network = load_encoder(str(getattr(folders, name)(tmp_path / name)), "image" if name == "vit" else "text").model
    model = nn.ModuleDict({"encoder": PretrainedEncoder(network), "head": nn.Linear(2, 2)})
    found = rates(model, 0.5, 0.1)
    assert set(found) == {key for key, _ in model.named_parameters() if key.startswith("encoder.")}
    assert {value for key, value in found.items() if ".1." in key} == {0.5}
    for key, value in found.items():
        if "embeddings" in key:
            assert value == pytest.approx(0.005), key
    assert sorted({round(value, 6) for value in found.values()}) == [0.005, 0.05, 0.5]


def test_a_network_that_gives_something_else():
    network = Network()
    network.config.hidden_size = 5
    with pytest.raises(ValueError, match=r"must give 5 numbers for each token: got shape \[2, 5, 3\]"):
        PretrainedEncoder(network).try_texts()
    network.forward = lambda **_: None
    with pytest.raises(ValueError, match="the pretrained encoder must run on texts: "):
        PretrainedEncoder(network).try_texts()
