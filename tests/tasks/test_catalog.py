import pytest

import heedful
from heedful._errors import HeedfulError, RunFolderError
from heedful.tasks.catalog import TASKS, task

VERBS = ("Settings", "prepare", "train", "evaluate", "predict", "inspect", "load")


def test_every_task_has_all_that_the_command_line_asks_of_it():
    assert len(TASKS) >= 1
    for name, entry in TASKS.items():
        module = task(name).load()
        assert module.__name__ == entry.module
        assert module.__doc__.startswith(f"{name}: {entry.does}")
        for verb in VERBS:
            assert callable(getattr(module, verb))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clasify-image", r"^unknown task `clasify-image`, did you mean `classify-image`\?$"),
        ("poetry", r"^unknown task `poetry`; known: .*, classify-image\.$"),
        ("", r"^unknown task ``; known: .*, classify-image\.$"),
    ],
)
def test_a_task_that_there_is_not(name, message):
    with pytest.raises(HeedfulError, match=message):
        task(name)


def test_a_run_folder_is_loaded_by_its_name_or_path(trained, shades):
    for folder in (trained, str(trained)):
        assert heedful.load(folder).predict(shades / "dark" / "0.png")[0].label in ("dark", "light")


def test_a_folder_of_a_task_that_there_is_not(run_copy):
    file = run_copy / "run.json"
    file.write_text(file.read_text().replace('"task": "classify-image"', '"task": "poetry"'))
    with pytest.raises(RunFolderError, match=rf"^{file}: `task` must be one of .*, classify-image: got 'poetry'\.$"):
        heedful.load(run_copy)
