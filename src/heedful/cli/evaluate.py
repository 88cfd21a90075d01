"""`heedful evaluate RUN`."""

from heedful._terminal import json_line
from heedful.cli._paths import UserPath


def evaluate(
    run_folder: UserPath, /, *, data: str, train: str | None = None, json: bool = False, task: str | None = None
) -> None:
    """Evaluate a trained model on labeled data, beside baselines fitted on its training data.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    data
        Labeled data, in the formats that the task reads.
    train
        The data that the run was trained on, for the baselines. Without it, the place that a run of yours names is read; a run
        from elsewhere may name any file, so that none is opened.
    json
        Print one JSON object.
    task
        The task of a run whose task is a class in a file: path/to/task.py:MyTask.
    """
    from heedful.cli._tables import print_metrics
    from heedful.tasks.run import load

    found = load(run_folder, task=task).evaluate(data, train=train, progress=True)
    if json:
        print(json_line(found.to_dict()))
    else:
        print_metrics(found.to_dict(), f"on {found.data}")
