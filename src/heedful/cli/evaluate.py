"""`heedful evaluate RUN`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def evaluate(run_folder: Path, /, *, data: str, json: Annotated[bool, Parameter(negative="")] = False) -> None:
    """Measure a trained model on labelled data, beside baselines fitted on its training data.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    data
        Labelled data, in the formats that the task reads.
    json
        Print one JSON object.
    """
    from heedful.cli._tables import print_measures
    from heedful.tasks.catalog import task
    from heedful.training.run_folder import RunFolder

    run = RunFolder(run_folder)
    metrics = task(run.about()["task"]).load().evaluate(run, data)
    if json:
        import json as encoder

        print(encoder.dumps(metrics))
    else:
        print_measures(metrics, f"on {data}, {metrics['on']}")
