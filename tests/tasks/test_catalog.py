import re

import pytest

import heedful
from heedful._errors import HeedfulError, RunFolderError
from heedful.tasks.catalog import TASKS, find, reference
from heedful.tasks.contract import Task
from tests.tasks.cases import TOY
from tests.toys import Average


@pytest.mark.parametrize("name", TASKS)
def test_every_name_is_that_of_its_class_and_its_file(name):
    kind = find(name)
    assert kind.name == name
    assert f"{kind.__module__}:{kind.__name__}" == TASKS[name].kind
    assert reference(kind) == name
    module = __import__(kind.__module__, fromlist=["x"])
    assert module.__doc__.startswith(f"{name}: ")


def test_a_class_is_itself_and_a_file_is_read_once():
    assert find(Average) is Average
    assert reference(Average).endswith("toys.py:Average")
    assert find(TOY) is find(TOY)
    assert issubclass(find(TOY), Task)
    assert reference(find(TOY)) == TOY


class Unfinished(Task):
    """A task of which most is missing."""

    learn, describe = Average.learn, Average.describe


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("clasify-image", r"^unknown task `clasify-image`, did you mean `classify-image`\?$"),
        ("poetry", r"^unknown task `poetry`; known: .*, or path/to/task.py:MyTask\.$"),
        ("", r"^unknown task ``; known: .*, or path/to/task.py:MyTask\.$"),
        ("no/where.py:Task", r"^no/where.py: must be a Python file with a task: there is no such file\.$"),
        (TOY.replace("MostVowel", "MostVowels"), r"most_vowel.py: must hold the class `MostVowels`: there is none\.$"),
        (TOY.replace("MostVowel", "Model"), r"most_vowel.py:Model: must be a class that derives from .*Task: got <class"),
        (str, r"^str: must be a class that derives from heedful.tasks.contract.Task: got <class 'str'>\.$"),
        (3, r"^3: must be a class that derives from heedful.tasks.contract.Task: got 3\.$"),
        (Unfinished, r"^Unfinished: a task must define all steps of the contract: baselines, batches, build, .*, validate is missing\.$"),
    ],
)  # fmt: skip
def test_a_task_that_there_is_not(task, message):
    with pytest.raises(HeedfulError, match=message):
        find(task)


def test_a_file_that_fails(tmp_path):
    file = tmp_path / "task.py"
    file.write_text("1 / 0\n")
    for _ in range(2):
        with pytest.raises(
            HeedfulError, match="task.py: must be a Python file with a task: got ZeroDivisionError: div"
        ):
            find(f"{file}:MyTask")


def test_a_run_folder_is_loaded_by_its_name_or_path(trained, shades):
    for folder in (trained, str(trained)):
        assert heedful.load(folder).predict(shades / "dark" / "0.png")[0].label in ("dark", "light")


def test_a_folder_of_another_task(run_copy):
    with pytest.raises(RunFolderError, match=rf"^{run_copy}: is a run of classify-image: got tag\.$"):
        heedful.load(run_copy, task="tag")
    file = run_copy / "run.json"
    file.write_text(file.read_text().replace('"task": "classify-image"', '"task": "poetry"'))
    with pytest.raises(RunFolderError, match=rf"^{re.escape(str(file))}: unknown task `poetry`; known: "):
        heedful.load(run_copy)
