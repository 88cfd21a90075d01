"""The examples run, and show what they say."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_watch_models(capsys):
    runpy.run_path(str(EXAMPLES / "watch_models.py"))
    out = capsys.readouterr().out
    assert "layers.1.self_attn      1  self      4  50 x 50" in out
    assert "NOT SEEN, though expected: 1" in out
    assert "softmax by hand" in out
    assert "2: AttentionByHand computes softmax of [2, 4, 50, 50] by hand" in out
    lines = [line for line in out.splitlines() if "off by" in line]
    assert len(lines) == 8
    for line in lines:
        assert float(line.split("off by ")[1].split()[0]) < 2e-5, line
        assert "the same to the last bit" in line or line.startswith("torch.nn.Transformer"), line


def test_viewer(tmp_path):
    example = runpy.run_path(str(EXAMPLES / "viewer.py"))
    example["main"](tmp_path / "report.html")
    assert 1_000_000 < (tmp_path / "report.html").stat().st_size < 12_000_000
    kinds = [kind for layer in example["text"]().layers for kind in layer.kinds]
    for kind in ("previous", "induction", "first"):
        assert kinds.count(kind) >= 3, kind
    [alignment, *_] = example["translation"]().layers[2].kinds
    assert alignment == "alignment"
