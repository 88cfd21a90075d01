"""A watch leaves the model as it was; who is seen, under which name; what is kept."""

import copy
import gc
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn as torch_nn
from torch.utils.checkpoint import checkpoint

import heedful
from heedful import nn, ops
from heedful.inspection import watch
from heedful.models import vision_transformer


def encoder():
    torch.manual_seed(0)
    return nn.TransformerEncoder(8, 2, 3).double()


def x(n=5):
    return torch.randn(2, n, 8, dtype=torch.float64)


class Fused(torch_nn.Module):
    """A layer that calls PyTorch's kernel."""

    def __init__(self, **options):
        super().__init__()
        self.project, self.options = torch_nn.Linear(8, 24), options

    def forward(self, x):
        q, k, v = (t.transpose(1, 2) for t in self.project(x).unflatten(-1, (3, 2, 4)).unbind(-3))
        return x + F.scaled_dot_product_attention(q, k, v, **self.options).transpose(1, 2).flatten(2)


def states(model):
    return [
        (dict(m._forward_hooks), dict(m._forward_pre_hooks), dict(m._backward_hooks), m.training, type(m))
        for m in model.modules()
    ]


def test_every_matrix_of_heedful_equals_the_dense_one():
    model, given = encoder(), x()
    pattern, bias = ops.Causal(), torch.randn(5, 5, dtype=torch.float64)
    with watch(model) as seen:
        model(given, pattern=pattern, bias=bias)
    assert [(call.module, call.engine) for call in seen] == [
        (f"layers.{i}.attention", "heedful.attention") for i in range(3)
    ]
    layer = model.layers[0].attention
    q, k, _ = layer._project(y := model.layers[0].attention_norm(given), y, None)
    q, k = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k))
    expected = (q @ k.mT / 2 + bias).masked_fill(~torch.ones(5, 5, dtype=torch.bool).tril(), -torch.inf).softmax(-1)
    torch.testing.assert_close(seen[0].matrix.dense(), expected)
    torch.testing.assert_close(
        seen["layers.0.attention"].entropy(), -(expected * expected.clamp(min=1e-300).log()).sum(-1)
    )


@pytest.mark.parametrize("normalize", [heedful.sparsemax, heedful.sigmoid])
def test_mechanisms_are_kept_as_they_are(normalize):
    query, key = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(2, 3, 7, 4, dtype=torch.float64)
    score, bias = heedful.Bilinear(torch.randn(4, 4, dtype=torch.float64)), ops.ALiBi(3, align="end")
    with watch(torch_nn.Identity()) as seen:
        heedful.attention(query, key, key, score=score, normalize=normalize, bias=bias, scale=0.3, softcap=2.0)
    scores = 2 * (0.3 * query @ score.weight @ key.mT / 2).tanh()
    scores = scores + bias.at(torch.arange(5)[:, None], torch.arange(7)[None], (2, 3, 5, 7))
    expected = heedful.attention_weights(
        torch.eye(5, dtype=torch.float64).expand(2, 3, 5, 5), scores.mT, score=heedful.Dot(), normalize=normalize
    )
    torch.testing.assert_close(seen[0].matrix.dense(), expected)


def test_a_vision_transformer_of_heedful():
    torch.manual_seed(0)
    model = vision_transformer(size=(8, 8), channels=1, classes=3, width=8, heads=2, pooling="class-token").eval()
    pictures = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        plain = model(pictures)
        with watch(model) as seen:
            out = model(pictures)
    assert torch.equal(plain, out)
    assert len(seen) == 2
    assert not seen.unseen
    assert not seen[0].matrix.query.is_inference()


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_do_not_change_by_a_bit(training):
    model, given = encoder().train(training), x()
    results = []
    for watching in (False, True):
        model.zero_grad()
        lengths = ops.Lengths(torch.tensor([5, 2]))
        if watching:
            with watch(model):
                out = model(given, pattern=lengths)
        else:
            out = model(given, pattern=lengths)
        out.square().sum().backward()
        results.append([out, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_model_is_as_before_also_after_an_exception():
    model = encoder().eval()
    model.layers[0].register_forward_hook(lambda *_: None)
    before, hooks = copy.deepcopy(model.state_dict()), states(model)
    with pytest.raises(ValueError, match="must be"), watch(model) as seen:
        model(torch.randn(2, 5, 9, dtype=torch.float64))
    assert len(seen) == 0
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert hooks == states(model)
    assert torch.overrides._get_current_function_mode() is None
    with watch(model) as seen:
        model(x())
    assert len(seen) == 3
    assert hooks == states(model)


def test_names_are_right_after_an_exception_inside():
    class Tries(torch_nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Fused(), Fused()

        def forward(self, x):
            try:
                self.first(x[..., :3])
            except RuntimeError:
                return self.second(x)

    model = Tries()
    with watch(model) as seen:
        model(torch.randn(2, 5, 8))
        F.scaled_dot_product_attention(*torch.randn(3, 1, 1, 5, 4))
    assert [call.module for call in seen] == ["second", ""]


def test_only_queries_and_keys_are_kept():
    model = encoder()
    with watch(model) as seen:
        model(x(101))
    for call in seen:
        kept = [t for t in vars(call.matrix).values() if isinstance(t, torch.Tensor)]
        assert len(kept) == 2
        assert all(t.numel() == 2 * 101 * 8 and not t.requires_grad and t.is_contiguous() for t in kept)


def test_a_call_outside_of_all_modules_has_no_name():
    given = torch.randn(5, 7)
    with watch(torch_nn.Identity()) as seen:
        heedful.attention(given, given, given)
    assert seen[0].module == ""


def test_other_models_are_left_alone_and_steps_are_forward_passes():
    model, other = encoder(), encoder()
    with watch(model) as seen:
        model(x()), other(x()), other(torch_nn.Identity()(x())), model(x()), other.layers[0](x())
    assert [(call.module, call.step) for call in seen] == [
        (f"layers.{i}.attention", step) for step in (0, 1) for i in range(3)
    ]
    assert not seen.unseen


def test_without_a_model_all_are_seen():
    before = states(model := encoder())
    with watch() as seen:
        model(x()), encoder()(x()), model(x()), heedful.attention(*torch.zeros(3, 1, 2, 5, 4))
    names = ["TransformerEncoder"] * 3 + ["TransformerEncoder 2"] * 3 + ["TransformerEncoder"] * 3
    assert [call.module for call in seen] == [f"{name}.layers.{i % 3}.attention" for i, name in enumerate(names)] + [""]
    assert [call.step for call in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert states(model) == before
    assert not torch_nn.modules.module._global_forward_pre_hooks
    with watch(keep=lambda name: name.endswith("0.attention")) as seen:
        model(x())
    assert len(seen) == 1
    with pytest.raises(
        TypeError, match="`keep` must be a function of a module's name where no model is given: got 'layers'"
    ):
        watch(keep="layers").__enter__()


def test_one_layer_that_runs_twice_is_seen_twice():
    layer = Fused()
    with watch(torch_nn.Sequential(layer, layer)) as seen:
        layer(layer(torch.randn(2, 5, 8)))
    assert [call.module for call in seen] == ["0", "0"]
    assert len(seen.calls("0")) == 2


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (None, [0, 1, 2]),
        (["layers.1"], [1]),
        (("layers.0.attention", "layers.2"), [0, 2]),
        ("layers.2", [2]),
        (lambda name: "0" not in name, [1, 2]),
        ([], []),
    ],
)
def test_what_is_kept(keep, expected):
    model = encoder()
    with watch(model, keep=keep) as seen:
        model(x())
    assert [call.module for call in seen] == [f"layers.{i}.attention" for i in expected]
    assert not seen.unseen


def test_bad_arguments():
    with (
        pytest.raises(ValueError, match="`keep` must name modules of the model: got 'layers.7'"),
        watch(encoder(), keep=["layers.7"]),
    ):
        pass
    with pytest.raises(TypeError, match="`model` must be a torch.nn.Module: got int"), watch(3):
        pass


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_beyond_the_budget_there_are_files(dtype, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = torch_nn.Sequential(*[Fused() for _ in range(3)]).to(dtype)
    given = torch.randn(2, 5, 8, dtype=dtype)
    one = 2 * 5 * 8 * given.element_size()
    with watch(model) as whole:
        model(given)
    assert not list(tmp_path.iterdir())
    with watch(model, budget=3 * one) as seen:
        model(given)
    [folder] = tmp_path.iterdir()
    assert sorted(file.stat().st_size for file in folder.iterdir()) == [one] * 3
    for ours, theirs in zip(seen, whole, strict=True):
        assert torch.equal(ours.matrix.query, theirs.matrix.query)
        assert torch.equal(ours.matrix.key, theirs.matrix.key)
        assert torch.equal(ours.matrix.dense(), theirs.matrix.dense())
    del seen, ours
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_is_seen_once(reentrant):
    class Checkpointed(torch_nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Fused(dropout_p=0.2)

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=reentrant)

    torch.manual_seed(0)
    model, given = Checkpointed(), torch.randn(2, 5, 8, requires_grad=True)
    found = []
    for watching in (False, True):
        torch.manual_seed(1)
        model.zero_grad()
        if watching:
            with watch(model) as seen:
                model(given).square().sum().backward()
        else:
            model(given).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert [call.module for call in seen] == ["inner"]


class TestCompiled:
    @pytest.fixture(autouse=True)
    def _fresh(self):
        torch._dynamo.reset()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
        torch._dynamo.reset()

    def test_compiled_before_and_watched_twice(self):
        model, given = torch_nn.Sequential(Fused(is_causal=True), Fused()), torch.randn(2, 5, 8)
        compiled = torch.compile(model, backend="eager")
        plain = compiled(given)
        for _ in range(3):
            with watch(model) as seen:
                out = compiled(given)
            assert torch.equal(plain, out)
            assert [(call.module, call.causal) for call in seen] == [("0", True), ("1", False)]
            assert not seen.unseen
        with watch(model) as uncompiled:
            model(given)
        assert torch.equal(seen[1].matrix.dense(), uncompiled[1].matrix.dense())
        assert torch.equal(compiled(given), plain)
        assert len(seen) == 2

    def test_compiled_within(self):
        model, given = Fused(), torch.randn(2, 5, 8)
        with watch(model) as seen:
            torch.compile(model, backend="eager")(given)
        assert [call.module for call in seen] == [""]

    def test_heedful(self):
        class Layer(torch_nn.Module):
            def forward(self, x):
                return heedful.attention(x, x, x, pattern=ops.Local(1), engine="tiled")

        model, given = torch_nn.Sequential(Layer()), torch.randn(2, 1, 5, 8)
        compiled = torch.compile(model, backend="eager")
        plain = compiled(given)
        with watch(model) as seen:
            out = compiled(given)
        assert torch.equal(plain, out)
        assert [call.module for call in seen] == ["0"]

    def test_hugging_face(self):
        from tests.inspection.capture.models import build, inputs

        model, given = build("bert", "eager"), inputs("bert", "left")
        compiled = torch.compile(model.encoder.layer[0].attention, backend="eager")
        states = torch.randn(2, 7, 16)
        plain = compiled(states)[0]
        with watch(model) as seen:
            out = compiled(states)[0]
        assert torch.equal(plain, out)
        assert [(call.module, call.engine) for call in seen] == [("encoder.layer.0.attention.self", "eager")]
        assert given
