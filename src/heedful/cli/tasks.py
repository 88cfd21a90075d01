"""`heedful tasks` and `heedful show TASK`."""


def tasks() -> None:
    """List the tasks: what each does, what it reads, and its metrics."""
    from heedful.tasks.catalog import TASKS, VERBS

    for name, entry in (TASKS | VERBS).items():
        print(f"{name}\n    {entry.does}\n    reads     {entry.reads}\n    metrics   {entry.metrics}")


def show(task_name: str, /) -> None:
    """Show a task: what it reads, and each of its settings with its meaning and default.

    Parameters
    ----------
    task_name
        A name that `heedful tasks` lists, or path/to/task.py:MyTask.
    """
    from heedful.tasks.catalog import TASKS, find
    from heedful.training.settings import other_architectures, write_settings

    kind = find(task_name)
    entry = TASKS.get(task_name)
    print(f"# {kind.name}: {entry.does if entry else (kind.__doc__ or '').partition(chr(10))[0]}")
    if entry:
        print(f"# reads: {entry.reads}\n# metrics: {entry.metrics}")
    print(
        f"#\n# heedful train {task_name} --data DATA --out runs/first [--config FILE.toml] [--set training.epochs=4]\n#"
    )
    print(write_settings(kind.Settings(), "the defaults, as a file for --config"), end="")
    for settings in other_architectures(kind.Settings):
        words = f"the defaults with model.architecture = {settings.model.architecture}"  # type: ignore[attr-defined]
        lines = write_settings(settings, words).splitlines()
        print("\n" + "\n".join(f"# {line}".rstrip() for line in lines))
