"""Some of the mutations of `python -m tests.fuzz files`, always the same ones, and what it does where something is wrong."""

import os
import subprocess
import sys

import pytest

from tests.fuzz import files


def test_files_folders_and_requests_from_strangers():
    words = [sys.executable, "-m", "tests.fuzz", "files", "--rounds", "1", "--examples", "6", "--minutes", "1"]
    for group in ("readers", "folder", "recording", "requests"):  # models and pages take longer
        words += ["--only", group]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=400)
    assert done.returncode == 0, done.stderr[-6000:]
    assert " mutations of " in done.stdout


@pytest.mark.parametrize("fault", [ValueError("no"), files.HeedfulError("two\nlines"), MemoryError()])
def test_what_is_wrong_is_found(tmp_path, fault):
    def reader(path):
        raise fault

    [subject] = files.of_file(tmp_path, "a.txt", b"text", reader)
    with pytest.raises((type(fault), AssertionError)):
        files.attempt(subject, 0, 3)


def test_a_mutation_is_another_content():
    found = set()
    files.attempt(files.Subject("", b'{"a": [1, 2]}', found.add), 0, 100)
    assert len(found) > 50
