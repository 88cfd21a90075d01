import pytest
import torch

from heedful.models.forecaster import Forecaster, PatchAttention

SMALL = {"patch": 5, "stride": 3, "width": 8, "heads": 2, "ffn_width": 12, "layers": 2, "dropout": 0.0}


def forecaster(**changed):
    torch.manual_seed(0)
    model = Forecaster(**{"length": 23, "horizon": 7, "channels": 3, "attention": "both", **SMALL, **changed}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in ("gate", "linear", "cycle", "effects"):
                parameter.normal_()
    return model


def test_at_first_it_is_the_linear_path():
    model = Forecaster(length=23, horizon=7, channels=3, cycle=5, known=2, **SMALL).eval()
    with torch.no_grad():
        model.linear.normal_()
    past, known, phase = torch.randn(2, 23, 3) + 5, torch.randn(2, 30, 2), torch.tensor([0, 3])
    mean = past.mean(1, keepdim=True)
    expected = mean + ((past - mean).mT @ model.linear).mT
    torch.testing.assert_close(model(past, known, phase), expected)


@pytest.mark.parametrize("attention", ["time", "both", "none"])
def test_a_constant_that_is_added_and_the_scale_of_attention_go_through(attention):
    model, past = forecaster(attention=attention), torch.randn(2, 23, 3)
    torch.testing.assert_close(model(past + 4), model(past) + 4, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(past * 3), model(past) * 3, atol=1e-3, rtol=1e-4)


def test_channels_are_by_themselves_unless_attention_is_over_them():
    past = torch.randn(2, 23, 3)
    other = past.clone()
    other[..., 2] = torch.randn(2, 23)
    apart, across = forecaster(attention="time"), forecaster()
    torch.testing.assert_close(apart(other)[..., :2], apart(past)[..., :2])
    assert (across(other) - across(past))[..., :2].abs().min() > 0


def test_what_is_explained_is_taken_from_the_past_and_added_to_the_future():
    model = forecaster(cycle=5, known=2)
    past, known, phase = torch.randn(2, 23, 3), torch.randn(2, 30, 2), torch.tensor([0, 3])
    explained = torch.stack([
        torch.stack([known[b, t] @ model.effects.mT + model.cycle[:, (int(phase[b]) + t) % 5] for t in range(30)]) for b in range(2)
    ])  # fmt: skip
    plain = forecaster()
    plain.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if name not in ("cycle", "effects")}
    )
    torch.testing.assert_close(model(past, known, phase), plain(past - explained[:, :23]) + explained[:, 23:])


def test_the_last_patch_ends_with_the_window_and_all_of_it_is_seen():
    torch.manual_seed(0)
    model = PatchAttention(length=23, horizon=7, **SMALL).eval()
    assert (model.count, model.padding) == (7, 0)
    x = torch.randn(1, 23, 1, requires_grad=True)
    model(x).sum().backward()
    assert (x.grad.abs() > 0).all()


def test_a_constant_window_is_forecast_as_it_is():
    torch.testing.assert_close(forecaster()(torch.full((1, 23, 3), 2.0)), torch.full((1, 7, 3), 2.0), atol=1e-2, rtol=0)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="`known` must be 2 columns: got none."):
        forecaster(known=2)(torch.zeros(1, 23, 3))
    with pytest.raises(ValueError, match="`phase` must say where each window begins within the cycle: got none."):
        forecaster(cycle=4)(torch.zeros(1, 23, 3))
