"""Folder order is dependency order: a package imports only what stands below it."""

import ast
from pathlib import Path

import heedful

SOURCE = Path(heedful.__file__).parent
MAY_IMPORT = {
    "__main__": {"cli"},
    "_errors": set(),
    "_files": {"_errors"},
    "_loader": {"_errors"},
    "_safetensors": {"_files"},
    "_signals": {"_errors"},
    "_types": set(),
    "_version": set(),
    "_checks": set(),
    "ops": {"_checks", "_types"},
    "nn": {"_checks", "_types", "ops"},
    "smoothing": {"_types", "ops"},
    "data": {"_errors", "_files", "_loader", "_types"},
    "models": {"_checks", "_types", "ops", "nn", "data"},
    # a recording writes its page
    "inspection": {"_checks", "_errors", "_files", "_types", "_version", "ops", "report"},
    "report": {"_checks", "_errors", "_files", "_types", "ops", "inspection"},
    "hugging_face": {"_checks", "_errors", "_files", "_safetensors", "_types", "data", "inspection", "report"},
    "training": {"_errors", "_files", "_loader", "_safetensors", "_version"},
    "tasks": {
        *("_errors", "_files", "_safetensors", "_signals", "_types", "ops", "nn", "models", "inspection", "report"),
        *("data", "hugging_face", "training"),
    },
    "cli": {
        *("_errors", "_files", "_signals", "_version", "ops", "nn", "inspection", "report", "hugging_face", "data"),
        *("training", "tasks", "smoothing"),
    },
}
MODULES = {
    ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in SOURCE.rglob("*.py")
}


def imports_of(tree):
    """The dotted names that are imported anywhere in a file, but for those that only type checkers read."""
    for_types = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for_types |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield from ((node.module, alias.name) for alias in node.names)


def modules_imported(name):
    """The modules of heedful that a module names in its imports; those inside of functions count, too."""
    for module, member in imports_of(ast.parse(MODULES[name].read_text())):
        inner = f"{module}.{member}"
        imported = inner if member is not None and inner in MODULES else module
        if imported in MODULES and imported != name:
            yield imported


def circle_in(edges):
    """Names of which each imports the next, and the last the first; None where there are none."""
    done, path = set(), []

    def visit(name):
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return None
        path.append(name)
        for other in sorted(edges[name]):
            circle = visit(other)
            if circle is not None:
                return circle
        done.add(path.pop())
        return None

    return next((circle for circle in map(visit, sorted(edges)) if circle is not None), None)


def test_modules_import_each_other_in_no_circle():
    edges = {name: set(modules_imported(name)) for name in MODULES}
    assert sum(map(len, edges.values())) > 500
    assert "heedful.report.build" in edges["heedful.inspection.recording"]  # inside of a function
    circle = circle_in(edges)
    assert circle is None, " -> ".join([*circle, circle[0]])


def test_a_circle_would_be_found():
    assert circle_in({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_no_module_imports_the_face_of_the_package():
    for name, file in MODULES.items():
        if name == "heedful":
            continue
        for module, _ in imports_of(ast.parse(file.read_text())):
            assert module != "heedful", f"{file}: import from the module where it is, not from the package's face"


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
    assert packages | {
        "__main__",
        "_errors",
        "_files",
        "_loader",
        "_safetensors",
        "_signals",
        "_types",
        "_version",
        "_checks",
    } == set(MAY_IMPORT)


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
