"""The public surface is explicit, and importing it costs nothing until it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import heedful


def test_every_public_name_is_there():
    for name in heedful.__all__:
        assert getattr(heedful, name) is not None
    assert set(heedful.__all__) <= set(dir(heedful))
    with pytest.raises(AttributeError, match="module 'heedful' has no attribute 'attend'"):
        heedful.attend  # noqa: B018


def test_what_type_checkers_see_is_what_is_there():
    tree = ast.parse(Path(heedful.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    names = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(heedful.__all__)


def test_packages_list_what_they_hold():
    from heedful import data, inspection, models, nn, ops, report

    for package in (data, inspection, models, nn, ops, report):
        assert len(package.__all__) >= 2
        for name in package.__all__:
            assert hasattr(package, name), f"{package.__name__}.{name}"


def test_importing_the_library_does_not_import_what_tasks_need():
    code = (
        "import sys, heedful; assert 'torch' not in sys.modules, 'torch'; heedful.attention; heedful.nn; heedful.inspection; "
        "print([m for m in ('lightning', 'kornia', 'sklearn', 'PIL', 'pydantic', 'cyclopts', 'rich', 'torchmetrics') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_thing_has_a_docstring_with_an_example():
    from heedful import nn, ops

    described = 0
    for name in {*nn.__all__, *ops.__all__} - {"Pattern", "Score", "And", "Or", "Not", "Global", "Mask"}:
        thing = getattr(nn, name, None) or getattr(ops, name)
        assert ">>> " in (thing.__doc__ or ""), name
        described += 1
    assert described >= 12
