"""`heedful compare PLAN.toml`."""

from typing import TYPE_CHECKING

from heedful._terminal import visible
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.tasks.comparison import Comparison


def compare(plan: UserPath, /, *, out: UserPath, jobs: int = 1, time_limit: str | None = None) -> None:
    """Train variants of settings with several seeds, and compare them in pairs.

    Parameters
    ----------
    plan
        A TOML file: the task, its data, settings, seeds, and the variants; docs/compare.md shows one.
    out
        The folder of the comparison. Runs that are done there are not trained again, and those that were begun go on.
    jobs
        How many runs are trained at a time.
    time_limit
        Begin no run after this time, such as 30m or 2h; the same command goes on later.
    """
    from heedful.cli._options import seconds_of
    from heedful.tasks.compare import carried_out
    from heedful.tasks.plans import read_plan

    planned, limit = read_plan(plan), seconds_of(time_limit)
    total = len(list(planned.runs()))

    def done(found: "Comparison") -> None:
        run = len(found.results)
        print(f"run {run} of {total} is done" if found.missing else f"all {total} runs are done", flush=True)

    found = carried_out(planned, out, jobs=jobs, time_limit=limit, own_processes=True, done=done)
    print("\n".join(map(visible, str(found).splitlines())))
    print(visible(f"results: {out / 'results.csv'}"))
