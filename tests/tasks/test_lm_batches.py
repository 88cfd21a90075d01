import pytest
import torch

from heedful.tasks import lm_batches


@pytest.mark.parametrize("count", [1, 2, 7, 16, 17, 40, 41, 47, 48])
@pytest.mark.parametrize(("stride", "after"), [(16, 0), (8, 0), (8, 4), (1, 7)])
def test_each_position_is_a_target_once_and_within_its_window(count, stride, after):
    length = min(16, count)
    spans = list(lm_batches.spans(count, length, min(stride, length), min(after, (length - min(stride, length)) // 2)))
    targets = [position for _, first, end in spans for position in range(first, end)]
    assert targets == list(range(count))
    for start, first, end in spans:
        assert 0 <= start <= first < end <= start + length <= count


def test_masked_tokens_are_targets_once():
    ids, positions = torch.arange(5, 65), lm_batches.masked_positions(60)
    assert torch.equal(positions, lm_batches.masked_positions(60))
    windows = lm_batches.masked_tokens(ids, positions, 16, mask=2)
    tokens, targets = windows[list(range(len(windows)))]
    assert [target for row in targets for target in row[row != -100].tolist()] == ids[positions].tolist()
    assert (tokens[targets != -100] == 2).all()
    assert len(lm_batches.masked_positions(1)) == 1


def test_a_masked_token_has_a_quarter_of_the_context_on_both_sides():
    windows = lm_batches.masked_tokens(torch.arange(5, 105), torch.arange(100), 16, mask=2)
    for row in windows[list(range(len(windows)))][1]:
        positions = (row != -100).nonzero()[:, 0]
        tokens = row[positions]
        if tokens[0] != 5:
            assert positions[0] >= 4
        if tokens[-1] != 104:
            assert positions[-1] <= 11


def test_fifteen_in_a_hundred_are_masked_as_bert_does():
    torch.manual_seed(0)
    tokens = torch.randint(4, 50, (200, 200))
    masked, targets = lm_batches.mask_tokens(tokens, mask=2, size=50)
    assert targets.float().mean() == pytest.approx(0.15, abs=0.005)
    assert torch.equal(masked[~targets], tokens[~targets])
    behind, same = (masked == 2)[targets].float().mean(), (masked == tokens)[targets].float().mean()
    assert behind == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / 46, abs=0.015)
    assert masked[targets & (masked != 2)].min() >= 4
    assert lm_batches.mask_tokens(torch.full((1, 1), 5), mask=2, size=50)[1].all()


def test_an_epoch_is_one_pass_cut_at_other_positions():
    starts, windows = lm_batches.RandomWindows(103, 10, 4, seed=1), lm_batches.TextWindows(torch.arange(103), 11)
    epochs = []
    for epoch in (0, 1, 1):
        starts.set_epoch(epoch)
        batches = list(starts)
        assert [len(batch) for batch in batches] == [4, 4] == [4] * len(starts)
        whole = torch.cat([windows[batch] for batch in batches])
        assert whole.shape == (8, 11)
        assert ((whole[:, 1:] - whole[:, :-1]) % 103 == 1).all()
        assert len(whole[:, :-1].unique()) == 80
        epochs.append(whole)
    assert torch.equal(epochs[1], epochs[2])
    assert not torch.equal(epochs[0], epochs[1])
