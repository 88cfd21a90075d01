"""What `train` and `evaluate` print of measures."""

from typing import Any


def print_measures(metrics: dict[str, Any], where: str) -> None:
    """Each measure, and beside the first one the baselines that were fitted on the same data."""
    print(where)
    rows = [(name.replace("_", " "), value) for name, value in metrics["measures"].items()]
    rows += [(f"baseline: {name}", value) for name, value in metrics["baselines"].items()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"    {name:<{width}}  {100 * value:5.1f} %")
