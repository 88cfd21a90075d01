"""What `make mutate` breaks is there to be broken: it is no use if it stops halfway."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.mutate import MUTATIONS, ROOT


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_each_text_stands_exactly_once(mutation):
    file = ROOT / "src" / "heedful" / mutation.file
    assert file.is_file(), f"{mutation.file} is no file"
    text = file.read_text()
    assert text.count(mutation.text) == 1, f"stands {text.count(mutation.text)} times in {mutation.file}"
    compile(text.replace(mutation.text, mutation.instead), mutation.file, "exec")
    assert mutation.instead != mutation.text


@pytest.mark.parametrize("tests", sorted({mutation.tests for mutation in MUTATIONS}))
def test_the_tests_that_have_to_fail_are_there(tests):
    path, *words = tests.split()
    path = ROOT / path
    files = [path] if path.is_file() else list(path.glob("**/test_*.py"))
    names = [name for file in files for name in re.findall(r"def (test_\w+)", Path(file).read_text())]
    assert names, f"{path} holds no test"
    if words:
        flag, word = words
        assert flag == "-k"
        assert any(word in name for name in names), f"no test of {path} is called {word}"


def test_names_are_unique():
    assert len(MUTATIONS) > 100
    assert not [name for name, count in Counter(mutation.what for mutation in MUTATIONS).items() if count > 1]
