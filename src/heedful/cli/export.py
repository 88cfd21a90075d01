"""`heedful export RUN --out FOLDER`."""

from typing import Literal

from heedful._terminal import visible
from heedful.cli._paths import UserPath


def export(
    run_folder: UserPath,
    /,
    *,
    out: UserPath,
    format: Literal["onnx"] = "onnx",
    data: str | None = None,
    task: str | None = None,
) -> None:
    """Export a trained model for other engines, and compare the two.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    out
        A new folder: the model, a page on its inputs and outputs, its labels, vocabulary and tokenizer, and the comparison.
    format
        Of the model.
    data
        Labeled data to compare on; without it, the validation examples of the run.
    task
        The task of a run whose task is a class in a file: path/to/task.py:MyTask.
    """
    from heedful.tasks import export as exporting

    check = exporting.export(run_folder, out, data=data, task=task)
    print(visible(f"on {check.data}"))
    print(f"    same predictions    {100 * check.agreement:.2f} % of {check.predictions:,}")
    print(f"    largest difference  {check.largest_difference:.1e}")
    print(visible(f"exported to {out}"))
