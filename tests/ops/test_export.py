"""`torch.export` gives a graph that computes the same, whichever engine would compute it otherwise; or it says why not."""

import subprocess
import sys

EXPORTED = """
import torch
from heedful import attention, ops

B, H, G, N, D = 2, 4, 2, 12, 8
MECHANISMS = {
    "plain": {},
    "causal": {"pattern": ops.Causal()},
    "local": {"pattern": ops.Local(2)},
    "longformer": {"pattern": ops.Local(1) | ops.Tokens([0])},
    "lengths": {"pattern": ops.Lengths(torch.tensor([5, 12]))},
    "documents": {"pattern": ops.Documents(torch.arange(N) // 5)},
    "grid": {"pattern": ops.Neighborhood2d(3, (3, 4))},
    "bias": {"bias": torch.randn(N, N)},
    "alibi in a window": {"pattern": ops.Local(2), "bias": ops.ALiBi(H)},
    "sinks": {"sinks": torch.randn(H)},
    "entmax15": {"normalize": ops.entmax15},
    "additive": {"score": ops.Additive(torch.randn(D))},
    "softcap": {"softcap": 2.0},
    "dropout": {"dropout": 0.5, "seed": 1},
    "hard": {"select": ops.Hard()},
    "the definition": {"engine": "reference"},
}
made = tuple(torch.randn(B, heads, N, D) for heads in (H, G, G))
poisoned = (made[0], made[1].clone().index_fill_(-2, torch.tensor([N - 1]), torch.nan), made[2])


class Layer(torch.nn.Module):
    def __init__(self, options):
        super().__init__()
        self.options = options

    def forward(self, query, key, value):
        return attention(query, key, value, **self.options)


for name, options in MECHANISMS.items():
    layer = Layer(options)
    exported = torch.export.export(layer, made).module()
    for operands in (made, poisoned):
        torch.testing.assert_close(
            exported(*operands), layer(*operands), equal_nan=True, msg=lambda m: f"{name}: {m}"
        )

for engine in ("tiled", "banded", "flex"):
    try:
        torch.export.export(Layer({"engine": engine, "pattern": ops.Local(2)}), made)
    except ValueError as error:
        assert f"`engine` must be None, 'fused' or 'reference' where a graph is exported: got '{engine}'." in str(error)
    else:
        raise AssertionError(engine)
"""


def test_exported():
    """In a process of its own: the wrappers that check annotations do not compile."""
    done = subprocess.run([sys.executable, "-c", EXPORTED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
