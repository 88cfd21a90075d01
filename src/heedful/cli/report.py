"""`heedful report RUN`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful._errors import HeedfulError
from heedful._terminal import visible
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.report import Report


def report(
    run_folder: UserPath,
    /,
    *,
    data: str | None = None,
    out: UserPath = Path("report.html"),
    png: UserPath | None = None,
    worst: int = 5,
    task: str | None = None,
) -> None:
    """Analyze the errors of a trained model: one HTML file that works offline.

    Learning curves, confusions, metrics by class and by length, calibration, the examples that went most wrong with their
    attention, settings, environment.

    Parameters
    ----------
    run_folder
        As `heedful train --out` wrote it.
    data
        Labeled data that are analyzed. Without it, the validation data of the run; of a run from elsewhere none are opened.
    out
        The file to write.
    png
        Also draw each chart, and the attention of each example, as a PNG file in this folder.
    worst
        Of how many of the worst examples the attention is shown.
    task
        The task of a run whose task is a class in a file: path/to/task.py:MyTask.
    """
    from heedful.tasks.run import load

    if out.is_dir() or not out.parent.is_dir():
        raise HeedfulError(f"{out}: the report must be a file in a folder that exists.")
    if png is not None and png.exists() and not png.is_dir():
        raise HeedfulError(f"{png}: the drawings need a folder: this is a file.")
    if worst < 0:
        raise HeedfulError(f"--worst must be at least 0 examples: got {worst}.")
    page = load(run_folder, task=task).report(data, worst=worst, progress=True)
    try:
        page.save(out)
        files = [] if png is None else _draw(page, png)
    except OSError as error:
        raise HeedfulError(f"{error.filename or out}: the report cannot be written: {error.strerror}.") from None
    if files:
        print(visible(f"drawings: {len(files)} files in {png}"))
    print(visible(f"report: {out}"))


def _draw(page: "Report", folder: Path) -> list[Path]:
    """A file for each chart and each attention, numbered as the sections are."""
    from heedful.report import AttentionSection, ChartsSection, draw_chart, draw_figure

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, section in enumerate(page.sections):
        drawn: list[tuple[Any, Any]] = []
        if isinstance(section, ChartsSection):
            drawn = [(draw_chart, chart) for chart in section.charts]
        elif isinstance(section, AttentionSection):
            drawn = [(draw_figure, section)]
        for draw, what in drawn:
            words = "attention" if draw is draw_figure else what.title
            name = "-".join("".join(sign if sign.isalnum() else " " for sign in words.lower()).split())
            files.append(folder / f"{number:02}-{name}.png")
            draw(what, files[-1])
    return files
