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


LAWS = "tests/contract/test_attention.py -k "
TWINS = LAWS + "naive_twin"
FAULTS = "tests/fuzz/test_faults.py -k "

MUTATIONS = [
    # scores
    Mutation("drop the scale", "ops/scores.py", "return float(max(width, 1) ** -0.5)", "return 1.0", TWINS),
    Mutation("scale what is not scaled", "ops/scores.py", "return query @ self.weight.to(query.dtype) @ key.mT", "return query @ self.weight.to(query.dtype) @ key.mT * 0.9", TWINS),
    Mutation("additive without its weight", "ops/scores.py", "return tanh @ weight\n", "return tanh.sum(-1)\n", TWINS),
    Mutation("the fast tanh has another slope", "ops/engines/tiled_scores.py", "(self.factor if self.small else 4 * self.factor)", "(self.factor if self.small else 2 * self.factor)", TWINS),
    Mutation("cosine of one side", "ops/scores.py", "return Features(_unit(query), _unit(key))", "return Features(_unit(query), key)", TWINS),
    Mutation("half the distance", "ops/scores.py", "half_query, half_key = (-0.5 *", "half_query, half_key = (-0.25 *", TWINS),
    # normalizers
    Mutation("empty rows are averaged", "ops/normalizers/exponential.py", ".softmax(-1).masked_fill(empty, 0)", ".softmax(-1)", LAWS + "empty_rows"),
    Mutation("softmax1 without its one", "ops/normalizers/exponential.py", "return powers / ((-top).exp() + powers", "return powers / (0 * (-top).exp() + powers", TWINS),
    Mutation("relu over all keys", "ops/normalizers/pointwise.py", "return scores.relu().masked_fill(masked, 0) / visible_keys(masked)", "return scores.relu().masked_fill(masked, 0) / masked.shape[-1]", TWINS),
    Mutation("sigmoid without its offset", "ops/normalizers/pointwise.py", "return (scores + offset).sigmoid()", "return scores.sigmoid()", TWINS),
    Mutation("linear counts what is hidden", "ops/normalizers/pointwise.py", "return (scores / visible_keys(masked))", "return (scores / masked.shape[-1])", TWINS),
    Mutation("shares without their sum", "ops/normalizers/pointwise.py", "return positive / total.masked_fill(total == 0, 1)", "return positive", TWINS),
    Mutation("sparsemax off by its threshold", "ops/normalizers/sparse.py", "sum(-1, keepdim=True) - 1) / count\n", "sum(-1, keepdim=True) - 0.9) / count\n", TWINS),
    Mutation("entmax15 without its square", "ops/normalizers/sparse.py", "relu().square()\n", "relu()\n", TWINS),
    Mutation("alpha does not learn", "ops/normalizers/alpha.py", "excess = self._excess(scores)\n        with", "excess = self._excess(scores).detach()\n        with", TWINS),
    Mutation("entmax one derivative short", "ops/normalizers/alpha.py", "for _ in range(3):\n            weights, slopes", "for _ in range(1):\n            weights, slopes", LAWS + "gradcheck"),
    # patterns
    Mutation("shift the causal diagonal", "ops/patterns/sequence.py", "return columns <= rows + self.offset(shape)\n", "return columns < rows + self.offset(shape)\n", TWINS),
    Mutation("align at the wrong end", "ops/patterns/sequence.py", 'if self.align == "end" else 0', 'if self.align == "start" else 0', TWINS),
    Mutation("one padded key too many", "ops/patterns/sequence.py", "return columns < _first_keys(self.lengths", "return columns <= _first_keys(self.lengths", TWINS),
    Mutation("a window too wide", "ops/patterns/sequence.py", "return (columns >= position - before)", "return (columns >= position - before - 1)", TWINS),
    Mutation("dilated without steps", "ops/patterns/sequence.py", "return near & (distance % self.dilation == 0)", "return near", TWINS),
    Mutation("padding is a document", "ops/patterns/marks.py", "& (ids >= 0)", "& (ids >= -1)", TWINS),
    Mutation("tokens are seen but do not see", "ops/patterns/marks.py", 'return is_chosen if self.align == "keys" else is_chosen | self._chosen(rows, shape[-2])', "return is_chosen", TWINS),
    Mutation("a neighborhood round the corner", "ops/patterns/grid.py", "return near & ((columns % width", "return near | ((columns % width", TWINS),
    Mutation("axial without columns", "ops/patterns/grid.py", "(rows % width == columns % width)", "(rows == columns)", TWINS),
    Mutation("and becomes or", "ops/patterns/base.py", "self.first.allowed(rows, columns, shape) & self", "self.first.allowed(rows, columns, shape) | self", TWINS),
    Mutation("or becomes and", "ops/patterns/base.py", "self.first.allowed(rows, columns, shape) | self", "self.first.allowed(rows, columns, shape) & self", TWINS),
    Mutation("not does nothing", "ops/patterns/base.py", "return ~self.inner.allowed", "return self.inner.allowed", TWINS),
    Mutation("transposed only half", "ops/patterns/base.py", "inner_shape[-1] - 1 - rows.mT, inner_shape).mT", "inner_shape[-1] - rows.mT, inner_shape).mT", "tests/ops/test_patterns.py"),
    Mutation("causal is not turned round", "ops/patterns/sequence.py", '{"start": "end", "end": "start"}', '{"start": "start", "end": "end"}', "tests/ops/test_patterns.py"),
    # biases and the rest of a score
    Mutation("a slope that rises", "ops/biases/distance.py", "* (0 - distance).to", "* distance.to", TWINS),
    Mutation("a step from key to query", "ops/biases/distance.py", "return columns // grid[1] - rows // grid[1]", "return rows // grid[1] - columns // grid[1]", TWINS),
    Mutation("a table shifted by one", "ops/biases/distance.py", "index = distance.clamp(-(count // 2), count // 2) + count // 2", "index = distance.clamp(-(count // 2), count // 2 - 1) + count // 2 + 1", TWINS),
    Mutation("the bias is forgotten", "ops/engines/fused.py", "mask = numbers if mask is None else", "mask = mask if mask is None else", LAWS + "bias"),
    Mutation("the bias is subtracted", "ops/engines/reference.py", "s = s + mechanism.bias.at", "s = s - mechanism.bias.at", TWINS),
    Mutation("the cap is on the bias", "ops/engines/features.py", "None if mechanism.softcap is not None else _columns", "None if False else _columns", "tests/fuzz/test_fuzz.py -k short"),
    Mutation("the sink takes nothing", "ops/engines/softmax.py", "return out * (lse - total_lse).exp()[..., None].to(out.dtype), total_lse", "return out, total_lse", TWINS),
    Mutation("the sink learns backwards", "ops/engines/softmax.py", "= -(sink_weight * delta)", "= (sink_weight * delta)", TWINS),
    # engines
    Mutation("bands are not merged", "ops/engines/banded.py", "block_weight = (block_lse - lse_view).sigmoid().masked_fill(block_lse == -math.inf, 0)", "block_weight = torch.ones_like(block_lse)", TWINS),
    Mutation("a row that sees nothing is merged", "ops/engines/banded.py", "block_lse = block_lse.masked_fill(empty, -math.inf)", "pass", FAULTS + "one_alternative"),
    Mutation("bands add no bias", "ops/engines/banded.py", "added = bias is not None and", "added = False and", TWINS),
    Mutation("blocks step too far", "ops/engines/bands.py", "(x, self.step * row, row, one), tensor", "(x, self.step * row + row, row, one), tensor", LAWS + "threads"),
    Mutation("a tile is lost", "ops/patterns/orders.py", "for start in range(0, shape[-2], size))", "for start in range(0, shape[-2], size + 1))", LAWS + "sizes_of_tiles"),
    Mutation("no derivative of the derivative", "ops/engines/derivatives.py", "return tuple(vjp_function(tuple(gradients)))", "return tuple(t.detach() for t in vjp_function(tuple(gradients)))", "tests/contract/test_derivatives.py -k double"),
    Mutation("forward mode of the first input only", "ops/engines/derivatives.py", "return tuple(transpose(tuple(directions))[0])", "return tuple(transpose((directions[0], *(0 * d for d in directions[1:])))[0])", "tests/contract/test_derivatives.py -k forward_mode"),
    Mutation("weights are dropped but not raised", "ops/engines/tiled.py", "return (weights * keep_mask).div_(1 - mechanism.dropout), keep_mask", "return weights * keep_mask, keep_mask", TWINS),
    Mutation("what is dropped has a gradient", "ops/engines/tiled.py", "dp.mul_(keep_mask)", "dp.mul_(1)", TWINS),
    Mutation("a draw without its row", "ops/selection.py", "threshold = uniform.double() * torch.where", "threshold = 0 * uniform.double() * torch.where", TWINS),
    Mutation("the last of the largest", "ops/selection.py", "weights.shape[-1]).amin(-1", "-1).amax(-1", "tests/ops/test_selection.py"),
    Mutation("NaN leaks", "ops/nonfinite.py", "if math.isfinite(total):", "if True:", LAWS + "not_finite"),
    # the matrix
    Mutation("empty rows have lse 0", "ops/engines/fused.py", "if ones_column is not None:", "if False:", "tests/contract/test_matrix.py"),
    Mutation("the gradient of lse is lost", "ops/engines/fused.py", "0, 1, -dlse", "0, 1, 0", "tests/contract/test_matrix.py"),
    Mutation("rows are multiplied back without lse", "ops/products.py", "mass[..., None].exp()", "mass[..., None]", "tests/contract/test_matrix.py"),
    Mutation("cells of the wrong columns", "ops/summaries.py", "* columns // max(A.shape[-1], 1)", "* columns // (A.shape[-1] + 1)", "tests/contract/test_matrix.py"),
    Mutation("lse without its sink", "ops/statistics.py", "torch.logaddexp(self._lse, self.sinks))", "self._lse)", "tests/ops/test_matrix_extremes.py"),
    Mutation("rows with a sink from what is left", "ops/statistics.py", "return self.before_sink if self.normalized else", "return self.weights if self.normalized else", "tests/ops/test_matrix_extremes.py"),
    Mutation("large scores less lse", "ops/products.py", "if not lse.numel() or not concrete(lse):", "if True:", "tests/ops/test_matrix_extremes.py"),
    Mutation("groups of samples taken for those of heads", "ops/summaries.py", "columns = columns.unsqueeze(-3)", "pass", "tests/contract/test_matrix.py"),
    Mutation("entropy without lse", "ops/summaries.py", "lse.masked_fill(lse == -math.inf, 0) - expected", "0 - expected", "tests/contract/test_matrix.py"),
    # layers and what is built of them
    Mutation("heads are mixed up", "nn/multihead.py", "out.transpose(1, 2).flatten(2)", "out.flatten(1, 2).unflatten(-1, (-1, 1)).flatten(2)"
             ".reshape(out.shape[0], out.shape[2], -1)", "tests/nn"),
    Mutation("a fixed position", "nn/positions.py", "angle.sin(), angle.cos()", "angle.cos(), angle.sin()", "tests/nn"),
    Mutation("no residual", "nn/transformer.py", "x = x + self._drop(self.attention(self.attention_norm(x)",
             "x = self._drop(self.attention(self.attention_norm(x)", "tests/nn"),
    Mutation("the mean instead of the query", "nn/pooling.py", "attention(query, split, split", "attention(0 * query, split, split", "tests/nn"),
    Mutation("rollout the wrong way", "inspection/rollout.py", "for matrix, weights in zip(reversed(R.matrices), reversed(R.weights), strict=True)", "for matrix, weights in zip(R.matrices, R.weights, strict=True)", "tests/inspection/test_rollout.py"),
    # faults that were found once, each with its mend taken back
    Mutation("values keep fewer heads than keys", "ops/engines/features.py", "k, value = all_heads(k, query), all_heads(value, query)", "pass", FAULTS + "grouped_heads"),
    Mutation("a kernel's operands are not checked", "ops/engines/kernel.py", "if not _fit(q.shape, k.shape, v.shape, None if mask is None else mask.shape) or", "if", "tests/ops/test_kernel.py"),
    Mutation("a grid is invariant along the sequence", "ops/patterns/grid.py", "return grid == self.grid", "return True", FAULTS + "lies_in_a_row"),
    Mutation("a negative scale in the kernel", "ops/engines/kernel.py", "if scale <= 0:\n        q, scale = _signed(q, scale)\n    if mask", "if mask", FAULTS + "not_positive"),
    Mutation("a negative scale in the kernel's gradient", "ops/engines/kernel.py", "factor = -1.0 if original_scale < 0 else 0.0", "pass", FAULTS + "not_positive"),
    Mutation("a negative scale in the public kernel", "ops/engines/fused.py", "if scale <= 0 and (causal or", "if False and (causal or", FAULTS + "without_a_gradient"),
    Mutation("emptiness is asked without the flag", "ops/engines/bands.py", "~(allowed.tril() if causal else allowed).any", "~allowed.any", FAULTS + "one_alternative"),
    Mutation("a band of the first of five axes only", "ops/engines/bands.py", "(heads.stop - heads.start) // shape[0]", "math.prod(shape[1:-2][-1:])", FAULTS + "five_axes"),
    Mutation("one flag for both alignments", "ops/engines/bands.py", "[p for p in self.conjuncts if not p.is_diagonal(shape)]", "[p for p in self.conjuncts if type(p).__name__ != 'Causal' or not any(o.is_diagonal(shape) for o in self.conjuncts)]", FAULTS + "causal_twice"),
    Mutation("scales and biases in half precision", "ops/attention.py", "return query.float(), key.float(), value.float()", "return query, key, value", FAULTS + "in_float32"),
    Mutation("masks in half precision", "ops/engines/fused.py", "torch.promote_types(query.dtype, torch.float32) if on_cpu", "query.dtype if on_cpu", FAULTS + "in_float32"),
    Mutation("a NaN query over few keys", "ops/engines/kernel.py", "if mask is None and (min(q.shape[-2], k.shape[-2]) if causal else k.shape[-2]) < NAN_SAFE_KEYS:", "if False:", FAULTS + "query_that_is_nan"),
    Mutation("a NaN query over few keys, plainly", "ops/engines/kernel.py", "mask = zero_mask(q.dtype) if self.needs_mask else None", "mask = None", FAULTS + "query_that_is_nan"),
    Mutation("a NaN query over few keys, plainly without a gradient", "ops/fast_path.py", "if not differentiable and not path.unchecked.needs_mask:", "if not differentiable:", FAULTS + "without_a_gradient"),
    Mutation("a NaN query over few keys, in the public kernel", "ops/engines/fused.py", "if few_keys and kernel.is_available(q)", "if False and kernel.is_available(q)", FAULTS + "without_a_gradient"),
    Mutation("NaN times a scale of 0", "ops/engines/tiled_scores.py", "alpha = factor or 1.0", "alpha = factor", FAULTS + "scale_of_zero"),
    Mutation("a bias of -inf does not hide NaN", "ops/nonfinite.py", "visible = pattern if bias is None else _VisiblePairs(pattern, bias)", "visible = pattern", FAULTS + "hides_what_is_nan"),
    Mutation("NaN is not looked for beside a bias", "ops/nonfinite.py", "if (not pattern.masks_any(shape) and bias is None) or", "if not pattern.masks_any(shape) or", FAULTS + "hides_what_is_nan"),
    Mutation("NaN beside a sink is hidden", "ops/engines/reference.py", "visible_pairs = s != -torch.inf", "visible_pairs = s > -torch.inf", FAULTS + "beside_sinks"),
    Mutation("sinks are not set apart", "ops/reduce.py", "elif sinks is None or not isinstance(mechanism.normalize, Softmax):", "else:", "tests/ops/test_matrix_extremes.py"),
    Mutation("what a sink leaves has no logarithm", "ops/statistics.py", "return F.logsigmoid(self._lse.masked_fill(empty, 0) - self.sinks)", "return (self._lse.masked_fill(empty, 0) - self.sinks).sigmoid().log()", "tests/ops/test_matrix_extremes.py"),
    Mutation("sines of integers are integers", "nn/positions.py", "positions.dtype if positions.is_floating_point() else torch.get_default_dtype()", "positions.dtype", "tests/nn/test_positions.py -k integers"),
    Mutation("additive scores of rounding", "ops/engines/tiled_scores.py", "if self.exact and out.numel() and not out.is_meta:", "if False:", FAULTS + "exactly_zero"),
    Mutation("an alpha below 1", "ops/normalizers/alpha.py", "excess = excess - excess.detach().clamp(max=0)", "pass", FAULTS + "below_one"),
    Mutation("a tiny bandwidth", "ops/scores.py", "float(max(bandwidth / unit, least) ** -2)", "float((bandwidth / unit) ** -2)", FAULTS + "tiny"),
    Mutation("a tiny bandwidth that learns", "ops/scores.py", "(bandwidth.to(query.dtype) / unit).clamp(min=least)", "(bandwidth.to(query.dtype) / unit)", FAULTS + "tiny"),
    Mutation("strides of one position", "ops/patterns/orders.py", "if 1 in sizes:", "if False:", FAULTS + "on_a_grid"),
    Mutation("a row of one stride is a copy", "ops/patterns/orders.py", "return len(self.sizes) == 1", "return self.strides == (1,)", FAULTS + "cache"),
    Mutation("tiles without rows", "ops/engines/tiles.py", "split(size) if len(index)]", "split(size)]", FAULTS + "no_tokens"),
    Mutation("tiles of no pairs", "ops/engines/tiles.py", "if not rows or not columns:", "if False:", FAULTS + "sizes_of_nothing"),
    Mutation("kernels of no pairs", "ops/engines/softmax.py", 'return "there are no pairs" if 0 in (*call.shape, call.query.shape[-1], call.value.shape[-1]) else None', "return None", FAULTS + "of_nothing"),
    Mutation("no tile is no output", "ops/engines/derivatives.py", "return tuple(totals) or tuple(tensors[0].new_zeros(shape) for _, shape in self.outputs)", "return tuple(totals)", FAULTS + "of_nothing"),
    Mutation("documents of no samples", "ops/patterns/marks.py", "or not ids.numel() or not key_ids.numel():", "or False:", FAULTS + "no_samples"),
    Mutation("the largest of no keys", "ops/summaries.py", "if not self.shape[-1]:\n        return torch.full", "if False:\n        return torch.full", "tests/ops/test_matrix_extremes.py -k without_a_number"),
    Mutation("columns by the width of features", "ops/engines/features.py", "else _columns(bias, shape, query, no_bias)\n", "else _columns(bias, shape, (score.features(query, key) or [query])[0], no_bias)\n", FAULTS + "another_width"),
    Mutation("samples that are all padding", "nn/convert.py", "and _masks_all(src_key_padding_mask)", "and False", "tests/nn/test_convert.py -k all_padding"),
    Mutation("nested tensors without positions", "nn/convert.py", "if any(sample.numel() for sample in samples):", "if True:", "tests/nn/test_convert.py -k without_positions"),
    Mutation("exports break the graph", "ops/attention.py", "if not torch.compiler.is_exporting():", "if True:", "tests/ops/test_export.py"),
    Mutation("exports look at numbers", "ops/attention.py", 'engine = "reference"  # the', "engine = None  # the", "tests/ops/test_export.py"),
    Mutation("exports look for NaN by numbers", "ops/nonfinite.py", "if not torch.compiler.is_compiling() and not under_vmap():", "if not under_vmap():", "tests/ops/test_export.py"),
    Mutation("integers of numpy", "_checks.py", "if isinstance(value, bool) or (isinstance(value, Tensor)", "if not isinstance(value, int) or (isinstance(value, Tensor)", FAULTS + "numpy"),
    Mutation("real numbers of numpy", "_checks.py", "number = float(scalar) if isinstance(scalar, numbers.Real) and not isinstance(scalar, bool) else None", "number = None", FAULTS + "numpy"),
    Mutation("bands of each of many samples", "ops/engines/bands.py", "return samples == 1 or samples * (CALL + _BUILD) < math.prod(shape)", "return True", "tests/ops/test_plan.py -k many_samples"),
    Mutation("calls cost nothing", "ops/engines/bands.py", " + CALL * max(calls - 16, 0) < math.prod(shape)", " < math.prod(shape)", "tests/ops/test_plan.py -k many_samples"),
    Mutation("flex with ids of one sample", "ops/patterns/marks.py", "ids, keys = (t.expand(shape[0], t.shape[-1]) for t in self._query_and_key_ids())", "ids, keys = self._query_and_key_ids()", FAULTS + "flex"),
    Mutation("flex with sizes of nothing", "ops/engines/flex.py", "if 0 in (*call.shape, call.query.shape[-1], call.value.shape[-1]):", "if False:", FAULTS + "flex"),
    Mutation("flex refuses what could learn", "ops/engines/flex.py", "q, k, v = q.detach(), k.detach(), v.detach()", "pass", "tests/ops/test_flex.py -k could_learn"),
    Mutation("large biases round weights off", "ops/engines/fused.py", "if self.mechanism.bias is not None and float(lse.abs()", "if False and float(lse.abs()", FAULTS + "low_throughout"),
    Mutation("a second gradient without the mean of W", "ops/engines/matmuls.py", "torch.cat([side, -mean], dim=-1)", "torch.cat([side, 0 * mean], dim=-1)", "tests/ops/test_matmuls.py"),
    Mutation("a second gradient without softmax's own mean", "ops/engines/matmuls.py", "r.addcmul_(a, r.sum(-1, keepdim=True), value=-1)", "pass", "tests/ops/test_matmuls.py"),
    Mutation("rows of a second gradient add up to nearly 1", "ops/engines/matmuls.py", "a.div_(a.sum(-1, keepdim=True))", "pass", "tests/ops/test_matmuls.py -k taken"),
    Mutation("a key head of one query head each", "ops/engines/matmuls.py", "((x, x // group) for x", "((x, x % len(k)) for x", "tests/ops/test_matmuls.py"),
]  # fmt: skip


def survives(mutation: Mutation) -> bool:
    """Whether the tests pass all the same; a process that dies has noticed."""
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
        assert done.returncode in (0, 1) or done.returncode < 0, done.stdout + done.stderr
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
