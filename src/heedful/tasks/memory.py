"""What needs less memory, in the words of a task; and the most that this process had."""

import sys
from typing import Any

from heedful.training.settings import describe_settings

# What takes most memory comes first.
_LARGE = (
    "training.batch_size", "data.size", "data.max_length", "model.context_length", "model.ensemble_size", "model.width",
    "model.ffn_width", "model.layers",
)  # fmt: skip
_LARGE_OPTIONS = ("num_samples", "beams", "n_best", "max_new_tokens")


def less_memory(task: Any, *, predicting: bool = False) -> str:
    """The settings of a task, or its options of `predict`, that need less memory where they are smaller."""
    names = (
        [f"--{name.replace('_', '-')}" for name in _LARGE_OPTIONS if name in task.Options.model_fields] if predicting
        else [name for name in _LARGE if name in {key for key, *_ in describe_settings(task.Settings)}]
    )  # fmt: skip
    others = "fewer or smaller inputs" if predicting else "fewer data"
    return f"a smaller {', '.join(names)}, or {others}, may do" if names else f"{others} may do"


def peak_memory() -> int:
    """The most bytes that this process had; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
