"""`make mutate`: each mutation breaks one mechanism in one place, and the tests must notice.

Works on a copy of the sources. Exit status 1 where a mutation survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutation(NamedTuple):
    """Text of a file under src/heedful, what stands there instead, and the tests that have to fail."""

    what: str
    file: str
    text: str
    instead: str
    tests: str = "tests/contract"


MUTATIONS = [
    Mutation("drop the scale", "ops/scores.py", "return query, key, float(max(query.shape[-1], 1) ** -0.5)", "return query, key, 1.0"),
    Mutation("scale the plain dot", "ops/scores.py", "return query, key, 1.0", "return query, key, 0.9"),
    Mutation("shift the causal diagonal", "ops/patterns.py", "columns <= rows + self.offset(shape)", "columns < rows + self.offset(shape)"),
    Mutation("align at the wrong end", "ops/patterns.py", 'if self.align == "end" else 0', 'if self.align == "start" else 0'),
    Mutation("one padded key too many", "ops/patterns.py", "columns < lengths.reshape", "columns <= lengths.reshape"),
    Mutation("flip the mask", "ops/patterns.py", "return mask.index_select(-1, columns.flatten()) if by_column else mask",
             "return ~(mask.index_select(-1, columns.flatten()) if by_column else mask)"),
    Mutation("and becomes or", "ops/patterns.py", "self.first.allowed(rows, columns, shape) & self", "self.first.allowed(rows, columns, shape) | self"),
    Mutation("or becomes and", "ops/patterns.py", "self.first.allowed(rows, columns, shape) | self", "self.first.allowed(rows, columns, shape) & self"),
    Mutation("not does nothing", "ops/patterns.py", "return ~self.inner.allowed", "return self.inner.allowed"),
    Mutation("transposed only half", "ops/patterns.py", "inside[-1] - 1 - rows.mT, inside).mT", "inside[-1] - rows.mT, inside).mT"),
    Mutation("causal is not turned round", "ops/patterns.py", '{"start": "end", "end": "start"}', '{"start": "start", "end": "end"}'),
    Mutation("empty rows are averaged", "ops/normalizers.py", ".softmax(-1).masked_fill(empty, 0)", ".softmax(-1)"),
    Mutation("the bias is forgotten", "ops/engines/fused.py", "mask = bias if mask is None else", "mask = mask if mask is None else"),
    Mutation("the bias is subtracted", "ops/engines/reference.py", "scores = scores + bias", "scores = scores - bias"),
    Mutation("empty rows have lse 0", "ops/engines/fused.py", "if spare is not None:", "if False:"),
    Mutation("the gradient of lse is lost", "ops/engines/fused.py", "0, 1, -dlse", "0, 1, 0"),
    Mutation("NaN leaks", "ops/attention.py", "if math.isfinite(total):", "if True:"),
    Mutation("rows are multiplied back without lse", "ops/matrix.py", "mass[..., None].exp()", "mass[..., None]"),
    Mutation("cells of the wrong columns", "ops/matrix.py", "* columns // self.shape[-1]", "* columns // (self.shape[-1] + 1)"),
    Mutation("entropy without lse", "ops/matrix.py", "lse.masked_fill(lse == -math.inf, 0) - expected", "0 - expected"),
    Mutation("heads are mixed up", "nn/multihead.py", "out.transpose(1, 2).flatten(2)", "out.flatten(1, 2).unflatten(-1, (-1, 1)).flatten(2)"
             ".reshape(out.shape[0], out.shape[2], -1)", "tests/nn"),
    Mutation("a fixed position", "nn/positions.py", "angle.sin(), angle.cos()", "angle.cos(), angle.sin()", "tests/nn"),
    Mutation("no residual", "nn/transformer.py", "x = x + self._dropped(self.attention(self.attention_norm(x)",
             "x = self._dropped(self.attention(self.attention_norm(x)", "tests/nn"),
    Mutation("the mean instead of the query", "nn/pooling.py", "attention(query, split, split", "attention(0 * query, split, split", "tests/nn"),
    Mutation("rollout the wrong way", "inspection/rollout.py", "for matrix in reversed(matrices)", "for matrix in matrices", "tests/inspection/test_watch.py"),
    Mutation("pictures are not normalised", "models/vit.py", "self.deviation.copy_", "self.mean.copy_", "tests/models"),
]  # fmt: skip


def survives(mutation: Mutation) -> bool:
    """Whether the tests pass all the same."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("src", "tests", "conftest.py", "pyproject.toml"):
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / part)
        file = copy / "src" / "heedful" / mutation.file
        text = file.read_text()
        assert text.count(mutation.text) == 1, (
            f"{mutation.what}: stands {text.count(mutation.text)} times in {mutation.file}"
        )
        file.write_text(text.replace(mutation.text, mutation.instead))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutation.tests.split()]
        environment = os.environ | {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode == 0


def main() -> int:
    """Tries every mutation whose name holds one of the words of the command line (all, without words)."""
    chosen = [m for m in MUTATIONS if not sys.argv[1:] or any(word in m.what for word in sys.argv[1:])]
    survivors = 0
    for mutation in chosen:
        survived = survives(mutation)
        survivors += survived
        print(f"{'SURVIVED' if survived else 'noticed':<9} {mutation.what} ({mutation.file})", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations noticed")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
