"""`heedful inspect RUN INPUT ... --out report.html`."""

import sys
from pathlib import Path


def inspect(run_folder: Path, /, *inputs: str, out: Path = Path("report.html")) -> None:
    """Show where a trained model looks: one HTML file that works offline.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    inputs
        As `heedful predict` takes them.
    out
        The file to write.
    """
    from heedful._errors import HeedfulError
    from heedful.cli.predict import given
    from heedful.tasks.catalog import task
    from heedful.training.run_folder import RunFolder

    run = RunFolder(run_folder)
    command = "heedful " + " ".join(sys.argv[1:])
    if out.is_dir() or not out.parent.is_dir():
        raise HeedfulError(f"{out}: the report must be a file in a folder that exists.")
    chosen = list(given(inputs))
    if not chosen:
        raise HeedfulError("give inputs by position, or on standard input: got none.")
    try:
        task(run.about()["task"]).load().inspect(run, chosen, out, command)
    except OSError as error:
        raise HeedfulError(f"{out}: the report cannot be written: {error.strerror}.") from None
    print(f"report: {out}")
