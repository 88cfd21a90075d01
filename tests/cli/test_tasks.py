import tomllib
from pathlib import Path

import pytest

from heedful.tasks.catalog import TASKS, find

TOY = Path(__file__).parents[2] / "examples" / "most_vowel.py"


def test_tasks_lists_each_with_what_it_reads_and_is_measured_by(heedful):
    status, out, err = heedful("tasks")
    assert (status, err) == (0, "")
    for name, entry in TASKS.items():
        assert f"{name}\n" in out
        for words in (entry.does, entry.reads, entry.metrics):
            assert words in out


def test_show_explains_each_setting(heedful):
    from heedful.training.settings import describe_settings

    for name in TASKS:
        status, out, err = heedful("show", name)
        assert (status, err) == (0, "")
        tables = tomllib.loads(out)
        settings = find(name).Settings
        described = list(describe_settings(settings, tables["model"].get("architecture")))
        assert len(described) >= 10
        assert {f"{section}.{key}" for section, table in tables.items() for key in table} == {
            key for key, *_ in described
        }
        for key, _, choices, meaning in described:
            choices = "" if key == "model.architecture" else choices
            assert f"# {meaning} {choices}".rstrip() in out, key


def test_show_has_the_other_architectures_as_comments(heedful):
    out = heedful("show", "translate").out
    assert '# architecture = "recurrent"\n' in out
    assert "(transformer, recurrent)" in out


def test_show_of_a_task_in_a_file(heedful):
    out = heedful("show", f"{TOY}:MostVowel").out
    assert out.startswith("# most-vowel: ")
    assert f"heedful train {TOY}:MostVowel --data" in out


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        ("", "Mine", "{file}: must hold the class `Mine`: there is none."),
        ("def", "Mine", "{file}: must be a Python file with a task: got SyntaxError: invalid syntax"),
        ("import no_such_package", "Mine", "{file}: must be a Python file with a task: got ModuleNotFoundError: "),
        ("class Mine: pass", "Mine", "{file}:Mine: must be a class that derives from heedful.tasks.contract.Task: got <class"),
        ("{toy}\nMostVowel.__abstractmethods__ = frozenset(['learn', 'score'])", "MostVowel",
         "{file}:MostVowel: a task must define all steps of the contract: learn, score is missing."),
    ],
    ids=["no class", "no Python", "no package", "no task", "no step"],
)  # fmt: skip
def test_a_file_without_a_task_begins_no_run(refused, tmp_path, code, name, message):
    file = tmp_path / "mine.py"
    file.write_text(code.replace("{toy}", TOY.read_text()))
    line = refused("train", f"{file}:{name}", "--data", "x", "--out", tmp_path / "run")
    assert line.startswith(message.replace("{file}", str(file)))
    assert not (tmp_path / "run").exists()
