import pytest
import torch

from heedful.models.seq2seq_recurrent import BidirectionalGRU, Recurrent
from tests.models.test_sequence_to_sequence import PREFIX, SOURCE, small


@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_the_recurrent_state_attends_to_the_source(score):
    model = small(architecture="recurrent", score=score)
    with torch.no_grad():
        encoded = model.encode(SOURCE)
        state, h = torch.randn(16, dtype=torch.float64), encoded.features[1]
        found = model.attention(state.expand(3, 1, 16), model.attention.key(encoded.features), encoded)[1, 0]
        match score:
            case "additive":
                scores = (model.attention.query(state) + model.attention.key(h)).tanh() @ model.attention.score_weight[
                    0
                ]
            case "dot":
                scores = h @ state
            case "general":
                scores = h @ (model.attention.score_weight[0].T @ state)
        torch.testing.assert_close(found, scores.softmax(0) @ h)


def gru_step(network, x, h):
    """Cho et al. 2014, with the reset gate where cuDNN has it."""
    given = x @ network.weight_ih_l0.T + network.bias_ih_l0
    kept = h @ network.weight_hh_l0.T + network.bias_hh_l0
    (r, z, n), (r_h, z_h, n_h) = given.chunk(3), kept.chunk(3)
    z = (z + z_h).sigmoid()
    return (1 - z) * (n + (r + r_h).sigmoid() * n_h).tanh() + z * h


@pytest.mark.parametrize("score", ["dot", "none"])
def test_the_recurrent_decoder_follows_its_definition(score):
    model = small(architecture="recurrent", score=score, layers=2)
    with torch.no_grad():
        encoded = model.encode(SOURCE)
        found = model.features(encoded, PREFIX)
        for b, length in enumerate(SOURCE.lengths.tolist()):
            source = encoded.features[b, :length]
            states = [*model.first(source.mean(0)).tanh().chunk(3)]
            for n, token in enumerate(PREFIX[b]):
                x = model.embedding.weight[token] * 4  # the root of the width
                states[0] = gru_step(model.decoder[0], x, states[0])
                x = model.norms[0](x + states[0])
                weights = (source @ x).softmax(0) if score == "dot" else source.new_full((length,), 1 / length)
                context = weights @ source
                for layer in (1, 2):
                    states[layer] = gru_step(model.decoder[layer], torch.cat([x, context]), states[layer])
                    x = model.norms[layer](x + states[layer])
                torch.testing.assert_close(model.out_norm(model.out(torch.cat([x, context]))), found[b, n])


def test_without_attention_every_token_counts_alike():
    model = small(architecture="recurrent", score="none")
    encoded = model.encode(SOURCE)
    torch.testing.assert_close(Recurrent._mean(encoded)[2], encoded.features[2, :2].mean(0))


def test_texts_are_read_from_both_ends_as_packed_ones_are():
    torch.manual_seed(0)
    ours, theirs = BidirectionalGRU(4, 2, 0.0), torch.nn.GRU(4, 4, 2, batch_first=True, bidirectional=True)
    for layer, (ahead, back) in enumerate(zip(ours.ahead, ours.back, strict=True)):
        for name, parameter in ahead.named_parameters():
            theirs.get_parameter(f"{name[:-1]}{layer}").data.copy_(parameter)
        for name, parameter in back.named_parameters():
            theirs.get_parameter(f"{name[:-1]}{layer}_reverse").data.copy_(parameter)
    x, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 3])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    found = ours(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[row, :length], expected[row, :length])


def test_with_input_feeding_the_first_layer_reads_what_each_token_was_predicted_from():
    torch.manual_seed(0)
    model = Recurrent(vocabulary_size=30, end=3, width=16, feeding=True).double()
    with torch.no_grad():
        encoded = model.encode(SOURCE)
        found, state = model.features(encoded, PREFIX), model.begin(encoded)
        for n in range(PREFIX.shape[1]):
            torch.testing.assert_close(model.features(encoded, PREFIX[:, n : n + 1], state)[:, 0], found[:, n])
        for b, length in enumerate(SOURCE.lengths.tolist()):
            source = encoded.features[b, :length]
            states, output = [*model.first(source.mean(0)).tanh().chunk(2)], source.new_zeros(16)
            for n, token in enumerate(PREFIX[b]):
                x = model.embedding.weight[token] * 4
                states[0] = gru_step(model.decoder[0], torch.cat([x, output]), states[0])
                x = model.norms[0](x + states[0])
                added = (model.attention.query(x) + model.attention.key(source)).tanh()
                context = (added @ model.attention.score_weight[0]).softmax(0) @ source
                states[1] = gru_step(model.decoder[1], torch.cat([x, context]), states[1])
                x = model.norms[1](x + states[1])
                output = model.out_norm(model.out(torch.cat([x, context])))
                torch.testing.assert_close(output, found[b, n])
