"""The model of speech: its losses beside their definitions, and its stream beside the whole."""

import itertools
import math

import pytest
import torch

from heedful.data.batch_types import TokenBatch
from heedful.models.conformer import FrameWindow
from heedful.models.search import beam_search
from heedful.models.transcriber import EncoderStream, Subsampling, Transcriber


def transcriber(**settings):
    torch.manual_seed(0)
    return Transcriber(
        **{"vocabulary_size": 6, "end": 3, "bands": 7, "width": 8, "heads": 2, "layers": 2, "ffn_width": 12} | settings
    ).eval()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_stream_gives_what_the_whole_gives(factor):
    model, window = transcriber(subsampling=factor), FrameWindow(5, 1)
    model.mean.normal_()
    for count in (1, 3, 4, 29):
        frames = torch.randn(count, 7)
        with torch.inference_mode():
            whole = model.encode(frames[None], torch.tensor([count]), window)
        assert whole.features.shape[1] == max(count // factor, 1) == whole.lengths.item()
        stream = EncoderStream(model, window)
        parts = [stream.push(piece) for piece in frames.split(3)] + [stream.finish()]
        torch.testing.assert_close(torch.cat(parts)[None], whole.features, rtol=1e-4, atol=1e-5)


def test_a_recording_in_a_batch_is_as_it_is_alone():
    model, frames, lengths = transcriber(), torch.randn(3, 20, 7), torch.tensor([20, 9, 1])
    for window in (FrameWindow(), FrameWindow(3, 1)):
        together = model.encode(frames, lengths, window)
        for row, length in enumerate(lengths.tolist()):
            alone = model.encode(frames[row : row + 1, :length], lengths[row : row + 1], window)
            count = alone.features.shape[1]
            torch.testing.assert_close(together.features[row, :count], alone.features[0], rtol=1e-4, atol=1e-5)


def test_the_losses_are_their_definitions():
    model = transcriber().double()
    encoded = model.encode(torch.randn(2, 9, 7).double(), torch.tensor([9, 6]))
    target = TokenBatch(torch.tensor([[4, 5], [5, 0]]), torch.tensor([2, 1]))
    rows = model.log_probabilities(encoded.features)
    ctc = 0.0
    for row, length, text in ((0, 4, (4, 5)), (1, 3, (5,))):
        total = 0.0
        for path in itertools.product(range(6), repeat=length):
            if tuple(token for token, _ in itertools.groupby(path) if token) == text:
                total += math.exp(sum(rows[row, frame, token].item() for frame, token in enumerate(path)))
        ctc -= math.log(total)
    assert model.loss(encoded, target, ctc_weight=1.0).item() == pytest.approx(ctc / 5, rel=1e-5)
    attention = model.decoder.loss(encoded, target).item()
    log_p = model.decoder(encoded, torch.tensor([[3, 4, 5], [3, 5, 0]]))
    wanted = -(log_p[0, [0, 1, 2], [4, 5, 3]].sum() + log_p[1, [0, 1], [5, 3]].sum()) / 5
    assert attention == pytest.approx(wanted.item(), rel=1e-6)
    both = model.loss(encoded, target, ctc_weight=0.3).item()
    assert both == pytest.approx(0.3 * ctc / 5 + 0.7 * attention, rel=1e-5)
    too_long = TokenBatch(torch.tensor([[4] * 4, [5] * 4]), torch.tensor([4, 4]))
    assert model.ctc_loss(encoded, too_long).item() == 0


def test_the_decoder_is_searched():
    model = transcriber()
    encoded = model.encode(torch.randn(2, 9, 7), torch.tensor([9, 6]))
    texts = beam_search(model.decoder, encoded, 4, beams=3, suppress=(0, 1, 2))
    assert [len(own) for own in texts] == [3, 3]
    assert all(token >= 3 for own in texts for one in own for token in one.tokens)


def test_gradients_reach_every_weight():
    model = transcriber().train()
    encoded = model.encode(torch.randn(2, 20, 7), torch.tensor([20, 9]), FrameWindow(3, 1))
    model.loss(encoded, TokenBatch(torch.tensor([[4, 5], [5, 0]]), torch.tensor([2, 1])), ctc_weight=0.3).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="`factor` must be 1, 2 or 4: got 3."):
        Subsampling(7, 8, factor=3)
    with pytest.raises(ValueError, match="a stream needs a window that ends and causal convolutions: got "):
        EncoderStream(transcriber(), FrameWindow())
