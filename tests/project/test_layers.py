"""Folder order is dependency order: a package imports only what stands below it."""

import ast
from pathlib import Path

import heedful

SOURCE = Path(heedful.__file__).parent
MAY_IMPORT = {
    "_errors": set(),
    "_types": set(),
    "_version": set(),
    "_checks": set(),
    "ops": {"_checks", "_types"},
    "nn": {"_checks", "_types", "ops"},
    "models": {"_checks", "_types", "ops", "nn"},
    "inspection": {"_checks", "_errors", "_types", "_version", "ops", "report"},  # report: a recording writes its page
    "report": {"_checks", "_types", "ops", "inspection"},
    "hugging_face": {"_checks", "_errors", "_types", "inspection", "report"},
    "data": {"_errors", "_types", "models"},  # batches are what a model says that it takes
    "training": {"_errors", "_version"},
    "tasks": {"_errors", "_types", "ops", "nn", "models", "inspection", "report", "data", "training"},
    "cli": {"_errors", "_version", "ops", "nn", "inspection", "report", "hugging_face", "data", "training", "tasks"},
}


def imported(file):
    """The heedful packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "heedful" and len(parts) > 1 and parts[1] in MAY_IMPORT:
                yield parts[1]


def test_no_edge_goes_up():
    files = [file for file in SOURCE.rglob("*.py") if file.parent != SOURCE or file.name.startswith("_")]
    edges = 0
    for file in files:
        package = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if package == "__init__":
            continue
        for other in imported(file):
            edges += 1
            assert other == package or other in MAY_IMPORT[package], f"{file}: {package} must not import {other}"
    assert edges > 60


def test_every_package_has_its_place_in_the_order():
    packages = {p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()}
    assert packages | {"_errors", "_types", "_version", "_checks"} == set(MAY_IMPORT)


def test_engines_know_each_other_only_downwards():
    ops = SOURCE / "ops"
    order = [
        "_tree.py",
        "scores.py",
        "patterns",
        "biases",
        "mechanism.py",
        "engines/kernel.py",
        "engines/bands.py",
        "engines/base.py",
        "engines/reference.py",
        "engines/features.py",
        "engines/derivatives.py",
        "engines/tiles.py",
        "engines/softmax.py",
        "engines/assemble.py",
        "engines/tiled_scores.py",
        "engines/tiled.py",
        "engines/fused.py",
        "engines/banded.py",
        "engines/flex.py",
        "plan.py",
        "nonfinite.py",
        "fast_path.py",
        "attention.py",
        "statistics.py",
        "reduce.py",
        "products.py",
        "windows.py",
        "summaries.py",
        "matrix.py",
    ]
    for place, name in enumerate(order):
        files = [ops / name] if name.endswith(".py") else sorted((ops / name).glob("*.py"))
        text = "\n".join(file.read_text() for file in files)
        assert text
        for later in order[place + 1 :]:
            module = "heedful.ops." + later.removesuffix(".py").replace("/", ".")
            package, _, leaf = module.rpartition(".")
            assert f"from {module} import" not in text, (name, later)
            assert f"from {package} import {leaf}" not in text, (name, later)


def test_only_one_file_words_shape_errors_of_operands():
    assert "must have the same width" in (SOURCE / "_checks.py").read_text()
    assert sum("must have the same width" in f.read_text() for f in SOURCE.rglob("*.py")) == 1


def test_no_model_has_a_flag_that_returns_weights():
    files = [*(SOURCE / "models").rglob("*.py"), *(SOURCE / "nn").rglob("*.py")]
    assert len(files) >= 6
    files.remove(SOURCE / "nn" / "convert.py")  # its signature is PyTorch's
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.arg):
                assert node.arg not in {"need_weights", "return_weights", "output_attentions"}, file
