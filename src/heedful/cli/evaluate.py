"""`heedful evaluate RUN`."""

from pathlib import Path


def evaluate(run_folder: Path, /, *, data: str, json: bool = False, task: str | None = None) -> None:
    """Evaluate a trained model on labeled data, beside baselines fitted on its training data.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    data
        Labeled data, in the formats that the task reads.
    json
        Print one JSON object.
    task
        The task of a run whose task is a class in a file: path/to/task.py:MyTask.
    """
    from heedful.cli._tables import print_metrics
    from heedful.tasks.run import load

    found = load(run_folder, task=task).evaluate(data)
    if json:
        import json as encoder

        print(encoder.dumps(found.to_dict(), ensure_ascii=False))
    else:
        print_metrics(found.to_dict(), f"on {found.data}")
