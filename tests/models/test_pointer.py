import math

import torch

from tests.models.test_sequence_to_sequence import PREFIX, SOURCE, small


def test_copying_follows_its_definition():
    model = small(pointer=True)
    with torch.no_grad():
        encoded = model.encode(SOURCE)
        features = model.features(encoded, PREFIX)
        found = model.log_probabilities(features, encoded).exp()
        for b in range(3):
            for n in range(4):
                h, keys = features[b, n], encoded.features[b, : SOURCE.lengths[b]]
                scores = (model.pointer.key(keys) @ model.pointer.query(h)) / math.sqrt(16)
                weights, gate = scores.softmax(0), model.pointer.gate(h).sigmoid()
                expected = gate * (model.embedding.weight @ h).softmax(0)
                for weight, token in zip(weights, SOURCE.tokens[b], strict=False):
                    expected[token] += ((1 - gate) * weight)[0]
                torch.testing.assert_close(found[b, n], expected)
        model.pointer.gate.bias.fill_(-9.0)  # now nothing is generated
        assert model.copied(features, encoded, SOURCE.tokens[:, :1].expand(-1, 4)).all()
        assert not model.copied(features, encoded, torch.full((3, 4), 1)).any()
