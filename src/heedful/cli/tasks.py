"""`heedful tasks` and `heedful show TASK`."""

from heedful.tasks.catalog import TASKS, task


def tasks() -> None:
    """List the tasks: what each does, reads and is measured by."""
    for name, entry in TASKS.items():
        print(
            f"{name}\n    {entry.does}\n    reads     {entry.reads}\n    model     {entry.model}\n    measure   {entry.measure}"
        )


def show(task_name: str, /) -> None:
    """Show a task: what it reads, and each of its settings with its meaning and default.

    Parameters
    ----------
    task_name
        A name that `heedful tasks` lists.
    """
    entry = task(task_name)
    from heedful.training.settings import write_settings

    print(f"# {task_name}: {entry.does}\n# reads: {entry.reads}\n# measure: {entry.measure}\n#")
    print(
        "# heedful train " + task_name + " --data DATA --out runs/first [--config FILE.toml] [--set model.layers=4]\n#"
    )
    print(write_settings(entry.load().Settings(), "the defaults, as a file for --config"), end="")
