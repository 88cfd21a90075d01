"""Annotations of shapes hold: some tests of each part once more, in a process that checks every call."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHOSEN = {
    "operator and matrix": [
        "tests/contract/test_attention.py::test_equals_the_naive_twin",
        "tests/contract/test_matrix.py::test_what_is_counted",
        "-k",
        "lengths or additive or entmax15 or bilinear or documents or sinks",
    ],
    "layers and models": [
        "tests/contract/test_modules.py::test_padding_is_as_if_it_were_not_there",
        "tests/nn/test_multihead.py",
        "tests/inspection/test_rollout.py",
        *(f"tests/models/test_{name}.py" for name in ("language_model", "tagger", "vit")),
    ],
}
WRONG = """
import torch
from heedful.nn import MultiHeadAttention

def test_wrong():
    MultiHeadAttention(6, 2)(torch.zeros(1, 5, 6), torch.zeros(1, 4, 6), torch.zeros(1, 3, 6))
"""


def checked(*words: object) -> subprocess.CompletedProcess[str]:
    options = ["-q", "--shapes", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("part", CHOSEN)
def test_annotations_hold(part: str) -> None:
    found = checked(*CHOSEN[part])
    assert found.returncode == 0, found.stdout[-4000:]


def test_an_annotation_that_does_not_hold_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text(WRONG)
    found = checked("-c", ROOT / "pyproject.toml", "-p", "conftest", tmp_path / "test_wrong.py")
    assert found.returncode == 1
    assert "jaxtyping.TypeCheckError: " in found.stdout
