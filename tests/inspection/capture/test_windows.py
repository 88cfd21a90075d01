"""Attention within windows, joined over all positions, against windows that are put back by the models' own functions."""

import pytest
import torch
import transformers as hf

import heedful
from heedful.inspection.windows import WindowBias

B = 2


def swin(size=16, cls=hf.SwinModel, config=hf.SwinConfig, **settings):
    torch.manual_seed(0)
    sizes = {"image_size": 2 * size, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4]}
    model = cls(config(**(sizes | {"window_size": 4} | settings))).double().eval()
    with torch.no_grad():  # so that the numbers that are added to the scores count
        for name, weights in model.named_parameters():
            if "relative" in name or "continuous" in name:
                weights.add_(torch.randn_like(weights))
    return model, {"pixel_values": torch.randn(B, 3, 2 * size, 2 * size, dtype=torch.float64)}


def watched(model, inputs, **more):
    with torch.no_grad():
        plain = model(**inputs, **more)
        with heedful.watch(model) as recording:
            output = model(**inputs, **more)
    torch.testing.assert_close(output[0], plain[0], rtol=0, atol=0)
    return recording, output


def put_back(weights, grid, window=4, shift=0):
    """What a model gives as `[B * W, H, n, n]`, as `[B, H, N, N]`; padding that fills the last windows has the last places."""
    rows, columns = (-(-size // window) * window for size in grid)
    place = torch.full((rows, columns), -1)
    place[: grid[0], : grid[1]] = torch.arange(grid[0] * grid[1]).reshape(grid)
    place = place.roll((-shift, -shift), (0, 1))
    place = place.reshape(rows // window, window, columns // window, window).transpose(1, 2).reshape(-1, window**2)
    place[place < 0] = torch.arange(grid[0] * grid[1], rows * columns)
    weights = weights.reshape(B, len(place), *weights.shape[1:])
    whole = weights.new_zeros(B, weights.shape[2], rows * columns, rows * columns)
    for number, own in enumerate(place):
        whole[:, :, own[:, None], own] = weights[:, number]
    return whole


@pytest.mark.parametrize("size", [16, 18])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_swin(size, attention):
    model, inputs = swin(size)
    eager, _ = swin(size, attn_implementation="eager")
    model.set_attn_implementation(attention)
    recording, _ = watched(model, inputs)
    given = []
    for module in eager.modules():
        if type(module).__name__ == "SwinAttention":
            module.register_forward_hook(lambda module, args, output: given.append(output[1]))
    with torch.no_grad():
        eager(**inputs)
    half = -(-size // 2)
    for call, weights, grid, shift in zip(
        recording, given, ((size,) * 2, (size,) * 2, (half,) * 2), (0, 2, 0), strict=True
    ):
        torch.testing.assert_close(call.matrix.dense(), put_back(weights, grid, shift=shift))
        assert (call.kind, call.causal) == ("self", False)
    assert len(recording.rollout(modules=[call.module for call in recording[:2]]).matrices) == 2


def test_windows_by_hand():
    model, inputs = swin(cls=hf.Swinv2Model, config=hf.Swinv2Config)
    recording, _ = watched(model, inputs)
    given = []
    for module in model.modules():
        if type(module).__name__ == "Swinv2SelfAttention":
            module.register_forward_hook(lambda module, args, output: given.append(output[1]))
    with torch.no_grad():
        model(**inputs, output_attentions=True)
    for call, weights, size, shift in zip(recording, given, (16, 16, 8), (0, 2, 0), strict=True):
        torch.testing.assert_close(call.matrix.dense(), put_back(weights, (size, size), shift=shift))


def test_windows_beside_heads_are_in_the_order_of_the_picture():
    config = hf.HieraConfig(
        image_size=(32, 32), patch_size=(7, 7), patch_stride=(4, 4), patch_padding=(3, 3), embed_dim=8, depths=[1, 1],
        num_heads=[2, 4], num_query_pool=1, masked_unit_size=(2, 2), masked_unit_attention=(True, False),
    )  # fmt: skip
    torch.manual_seed(0)
    model = hf.HieraModel(config).double().eval()
    recording, output = watched(
        model, {"pixel_values": torch.randn(B, 3, 32, 32, dtype=torch.float64)}, output_attentions=True
    )
    weights = output.attentions[0]  # [B, H, W, n, n]
    place = torch.arange(64).reshape(4, 2, 4, 2).transpose(1, 2).reshape(16, 4)
    whole = weights.new_zeros(B, 2, 64, 64)
    for number, own in enumerate(place):
        whole[:, :, own[:, None], own] = weights[:, :, number]
    torch.testing.assert_close(recording[0].matrix.dense(), whole)


def test_padding_of_windows_stands_last():
    config = hf.SamVisionConfig(
        hidden_size=8, image_size=20, patch_size=4, num_hidden_layers=2, num_attention_heads=2, window_size=3,
        global_attn_indexes=[1], output_channels=4, mlp_dim=8,
    )  # fmt: skip
    recording, _ = watched(hf.SamVisionModel(config).eval(), {"pixel_values": torch.randn(B, 3, 20, 20)})
    windows, whole = (call.matrix for call in recording)
    assert (windows.shape, whole.shape) == ((B, 2, 36, 36), (B, 2, 25, 25))
    assert windows[0, 0, 0].nonzero()[:, 0].tolist() == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    assert windows[0, 0, 24].nonzero()[:, 0].tolist() == [18, 19, 23, 24, 31, 32, 33, 34, 35]
    assert "4 windows of 9 positions, joined; the last 11 positions are padding" in str(recording)


def test_pooled_keys_are_of_the_same_picture():
    config = hf.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], num_attention_heads=[1, 2],
        patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2],
    )  # fmt: skip
    recording, _ = watched(hf.SegformerModel(config).eval(), {"pixel_values": torch.randn(B, 3, 32, 32)})
    assert [(call.kind, call.matrix.shape[-2:]) for call in recording] == [("self", (64, 16)), ("self", (16, 16))]
    assert str(recording).count("self, pooled") == 1


class Rows(torch.nn.Module):
    """Attention along rows, columns or windows of a picture `[B, C, H, W]`, as models without a linear layer have it."""

    def __init__(self, fold):
        super().__init__()
        self.fold = fold

    def forward(self, picture):
        query, key = self.fold(picture), self.fold(picture * 2)
        return torch.nn.functional.scaled_dot_product_attention(query, key, query)


PICTURE = torch.randn(B, 4, 3, 5, generator=torch.Generator().manual_seed(0))
FOLDS = {
    "columns": lambda x: x.permute(0, 3, 2, 1).reshape(B * 5, 3, 2, 2).transpose(1, 2),
    "rows": lambda x: x.flip(1).permute(0, 2, 3, 1).flatten(0, 1)[:, None],  # of one head
    "channels first": lambda x: x.permute(0, 2, 3, 1).unflatten(-1, (2, 2)).permute(0, 3, 1, 2, 4),
}


@pytest.mark.parametrize("fold", FOLDS)
def test_axial_attention(fold):
    recording, _ = watched(Rows(FOLDS[fold]), {"picture": PICTURE})
    [call] = recording
    heads, n = 1 if fold == "rows" else 2, 3 if fold == "columns" else 5
    assert call.matrix.shape == (B, heads, 15, 15)
    row, column = torch.arange(15) // 5, torch.arange(15) % 5
    own = column if fold == "columns" else row
    torch.testing.assert_close((call.matrix.dense() > 0).sum(-1), torch.full((B, heads, 15), n))
    assert not bool((call.matrix.dense() * (own[:, None] != own)).any())
    x = PICTURE.flip(1) if fold == "rows" else PICTURE
    features = x.flatten(2).mT.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = (features @ (2 * features).mT / features.shape[-1] ** 0.5).masked_fill(own[:, None] != own, -torch.inf)
    torch.testing.assert_close(call.matrix.dense(), scores.softmax(-1))


@pytest.mark.parametrize(
    "fold",
    [
        lambda x: x.permute(0, 2, 3, 1).flatten(1, 2)[:, None],  # the whole
        lambda x: x.permute(0, 2, 3, 1).flatten(1, 2)[:, :14].reshape(B * 2, 1, 7, 4),  # not the last one
        lambda x: x.permute(0, 2, 3, 1).flatten(1, 2).unfold(1, 5, 2).mT.flatten(0, 1)[:, None],  # they overlap
        lambda x: x.flatten(2)[:, None],  # channels
    ],
)
def test_what_has_no_windows_or_does_not_make_up_the_whole(fold):
    recording, _ = watched(Rows(fold), {"picture": PICTURE})
    [call] = recording
    assert (call.matrix.shape[:-1], call.notes) == (fold(PICTURE).shape[:-1], ())


class Rotated(torch.nn.Module):
    """Heads whose queries come of functions that are not followed are no windows."""

    def forward(self, x):
        heads = torch.cat([x, x], dim=-1).unflatten(-1, (4, -1))  # [B, N, H, D]
        heads = torch.cat([heads, -heads], dim=-1).transpose(1, 2).contiguous()
        return torch.nn.functional.scaled_dot_product_attention(heads, heads.clone(), heads)


@pytest.mark.parametrize("samples", [1, 2])
def test_heads_are_no_windows(samples):
    recording, _ = watched(Rotated(), {"x": torch.randn(samples, 6, 4)})
    assert recording[0].matrix.shape == (samples, 4, 6, 6)


def test_a_bias_of_windows_is_saved(tmp_path):
    model, inputs = swin()
    recording, _ = watched(model, inputs)
    assert isinstance(recording[1].matrix.bias, WindowBias)
    recording.save(tmp_path / "watch")
    loaded = heedful.load_watch(tmp_path / "watch")
    for one, other in zip(recording, loaded, strict=True):
        torch.testing.assert_close(one.matrix.dense(), other.matrix.dense())


def test_a_bias_of_windows_fits_its_matrix():
    bias = WindowBias(torch.zeros(1, 2, 2), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match=r"a number for each of \[4, 4\] positions: got \[3\] and \[3\]\."):
        heedful.AttentionMatrix(*torch.zeros(2, 4, 2), bias=bias)


def test_a_report_of_windows_is_that_of_float64():
    model, inputs = swin(depths=[2, 2])
    recording, _ = watched(model, inputs)
    layers = recording.section().layers
    assert [layer.label for layer in layers] == [
        "layer 0, block 0", "layer 0, block 1", "layer 1, block 0", "layer 1, block 1",
        "rollout, 256 positions", "rollout, 64 positions",
    ]  # fmt: skip
    chain = [call.matrix.dense()[0] for call in recording[:2]]
    mixed = [weights.mean(0) / 2 + torch.eye(256).double() / 2 for weights in chain]
    rows = recording.rollout(modules=[call.module for call in recording[:2]]).rows([0, 100])
    torch.testing.assert_close(rows[0], (mixed[1] @ mixed[0])[[0, 100]])
    shown = torch.from_numpy(next(layer for layer in layers if layer.kind == "rollout").pairs.weights)
    torch.testing.assert_close(shown[0].double(), mixed[1] @ mixed[0], rtol=5e-4, atol=1e-9)
    for layer, weights in zip(layers, chain, strict=False):
        received = torch.from_numpy(layer.curves["received"]).double()
        torch.testing.assert_close(received, weights.sum(-2), rtol=5e-4, atol=1e-9)
