"""The example runs, and shows what it says."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "watch_models.py"


def test_watch_models(capsys):
    runpy.run_path(str(EXAMPLE))
    out = capsys.readouterr().out
    assert "layers.1.self_attn      1  self      4  50 x 50" in out
    assert "NOT SEEN, though expected: 1" in out
    assert "1: AttentionByHand computes softmax of [2, 4, 50, 50] by hand" in out
    lines = [line for line in out.splitlines() if "off by" in line]
    assert len(lines) == 8
    for line in lines:
        assert float(line.split("off by ")[1].split()[0]) < 2e-5, line
        assert "the same to the last bit" in line or line.startswith("torch.nn.Transformer"), line
