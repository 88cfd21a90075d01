"""The debug switch finds what a kernel does wrong."""

import os
import subprocess
import sys

import pytest
import torch

import heedful
from heedful.ops.engines import banded, fused, verify

PATTERNS = {"fused": heedful.Global(), "banded": heedful.Local(2)}


@pytest.fixture
def verified(monkeypatch):
    monkeypatch.setattr(verify, "on", True)


@pytest.mark.usefixtures("verified")
@pytest.mark.parametrize("engine", PATTERNS)
@pytest.mark.parametrize("gradient", [False, True])
def test_a_wrong_output_raises(engine, gradient, monkeypatch):
    module, function = {"fused": (fused, "forward"), "banded": (banded, "forward")}[engine]
    right = getattr(module, function)
    query = torch.randn(1, 2, 65, 4, requires_grad=gradient)
    options = {"pattern": PATTERNS[engine], "engine": engine}
    heedful.attention(query, query, query, **options)
    monkeypatch.setattr(module, function, lambda *a: (right(*a)[0] + 0.1, right(*a)[1]))
    with pytest.raises(RuntimeError, match=r"the output must be what the definition gives: got .* numbers differ\."):
        heedful.attention(query, query, query, **options)


@pytest.mark.usefixtures("verified")
@pytest.mark.parametrize("engine", PATTERNS)
def test_a_wrong_gradient_raises(engine, monkeypatch):
    module = {"fused": fused, "banded": banded}[engine]
    right = module.backward
    query, key, value = (torch.randn(1, 2, 65, 4, requires_grad=True) for _ in range(3))
    out = heedful.attention(query, key, value, pattern=PATTERNS[engine], engine=engine)
    monkeypatch.setattr(module, "backward", lambda *a: (right(*a)[0], right(*a)[1] * 2, right(*a)[2]))
    with pytest.raises(RuntimeError, match="the gradient of `key` must be what the definition gives"):
        out.sum().backward()


def test_the_environment_sets_it():
    code = "from heedful.ops.engines import verify; print(verify.on)"
    for value, expected in (("1", "True"), ("", "False")):
        environment = os.environ | {"HEEDFUL_VERIFY": value}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
