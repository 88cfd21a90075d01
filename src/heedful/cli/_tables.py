"""What `train` and `evaluate` print of metrics."""

from typing import Any

from heedful._terminal import visible

_CONFUSIONS = 5


def print_metrics(metrics: dict[str, Any], where: str) -> None:
    """Each metric, and below them the baselines that were fitted on the same data, in terms of the first one."""
    units, values = metrics["units"], metrics["metrics"]
    first = next(iter(values))
    rows = [(_words(name), _shown(value, units[name])) for name, value in values.items()]
    rows += [(f"baseline: {name}", _shown(own[first], units[first])) for name, own in metrics["baselines"].items()]
    width = max(len(name) for name, _ in rows)
    lines = [where, *(f"    {name:<{width}}  {value}" for name, value in rows)]
    lines += [f"    {name}: {signature}" for name, signature in metrics["details"].get("signatures", {}).items()]
    for truth, predicted, count in metrics["details"].get("confusions", [])[:_CONFUSIONS]:
        lines.append(f"    {count:,} x {truth} predicted as {predicted}")
    if calibration := metrics["details"].get("calibration"):
        before, after = (100 * calibration[name] for name in ("error_before", "error"))
        temperature = calibration["temperature"]
        lines.append(
            f"    expected calibration error: {after:.1f} %; without the temperature of {temperature:.2f}, {before:.1f} %"
        )
    if metrics["note"]:
        lines.append(f"note: {metrics['note']}")
    print("\n".join(map(visible, lines)))


def _words(name: str) -> str:
    words = name.replace("_", " ")
    return words.upper().replace(" ", "-") if words.startswith(("rouge", "bleu")) else words


def _shown(value: float, unit: str) -> str:
    return f"{100 * value:5.1f} %" if unit == "%" else f"{value:.4f} {unit}".rstrip()
