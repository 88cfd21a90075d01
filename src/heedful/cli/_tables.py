"""What `train` and `evaluate` print of measures."""

from typing import Any

_CONFUSIONS = 5


def print_measures(metrics: dict[str, Any], where: str) -> None:
    """Each measure, and below them the baselines that were fitted on the same data, in terms of the first one.

    `metrics["units"]` names the unit of a measure that is no share.
    """
    print(where)
    units, measures = metrics.get("units", {}), metrics["measures"]
    first = units.get(next(iter(measures)))
    rows = [(name.replace("_", " "), _shown(value, units.get(name))) for name, value in measures.items()]
    rows += [(f"baseline: {name}", _shown(value, first)) for name, value in metrics["baselines"].items()]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"    {name:<{width}}  {value}")
    for truth, predicted, count in metrics.get("confusions", [])[:_CONFUSIONS]:
        print(f"    {count:,} x {truth} taken for {predicted}")


def _shown(value: float, unit: str | None) -> str:
    return f"{100 * value:5.1f} %" if unit is None else f"{value:.4f} {unit}"
