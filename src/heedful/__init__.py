"""heedful: attention you can compute, train and look inside, at any length."""

import importlib
from typing import TYPE_CHECKING, Any

from heedful._version import __version__ as __version__

if TYPE_CHECKING:
    from heedful import inspection, nn, ops
    from heedful._errors import (
        DataError,
        HeedfulError,
        MissingPackageError,
        OutOfMemoryError,
        RunFolderError,
        SettingsError,
    )
    from heedful.inspection.recording import load_watch
    from heedful.inspection.rollout import rollout
    from heedful.inspection.watch import watch
    from heedful.ops import (
        Additive,
        ALiBi,
        ALiBi2d,
        AttentionMatrix,
        Axial,
        Bilinear,
        Causal,
        Cosine,
        Dilated,
        Documents,
        Dot,
        Gaussian,
        Global,
        GlobalTokens,
        Hard,
        Lengths,
        Local,
        LowRank,
        Mask,
        Neighborhood2d,
        PerKey,
        PerQuery,
        Prefix,
        RelativeBias,
        RelativeBias2d,
        Sampled,
        ScaledDot,
        Sigmoid,
        Soft,
        attention,
        attention_weights,
        entmax,
        entmax15,
        linear,
        plan,
        proportional,
        relu,
        reweight,
        rotary,
        rotary2d,
        sample,
        sigmoid,
        softmax,
        softmax1,
        sparsemax,
    )
    from heedful.smoothing import smooth
    from heedful.tasks.compare import compare
    from heedful.tasks.run import load, train

__all__ = [
    "ALiBi",
    "ALiBi2d",
    "Additive",
    "AttentionMatrix",
    "Axial",
    "Bilinear",
    "Causal",
    "Cosine",
    "DataError",
    "Dilated",
    "Documents",
    "Dot",
    "Gaussian",
    "Global",
    "GlobalTokens",
    "Hard",
    "HeedfulError",
    "Lengths",
    "Local",
    "LowRank",
    "Mask",
    "MissingPackageError",
    "Neighborhood2d",
    "OutOfMemoryError",
    "PerKey",
    "PerQuery",
    "Prefix",
    "RelativeBias",
    "RelativeBias2d",
    "RunFolderError",
    "Sampled",
    "ScaledDot",
    "SettingsError",
    "Sigmoid",
    "Soft",
    "attention",
    "attention_weights",
    "compare",
    "entmax",
    "entmax15",
    "inspection",
    "linear",
    "load",
    "load_watch",
    "nn",
    "ops",
    "plan",
    "proportional",
    "relu",
    "reweight",
    "rollout",
    "rotary",
    "rotary2d",
    "sample",
    "sigmoid",
    "smooth",
    "softmax",
    "softmax1",
    "sparsemax",
    "train",
    "watch",
]

_PACKAGES = {"inspection", "nn", "ops"}
_ELSEWHERE = {
    "MissingPackageError": "heedful._errors",
    "OutOfMemoryError": "heedful._errors",
    "SettingsError": "heedful._errors",
    "RunFolderError": "heedful._errors",
    "HeedfulError": "heedful._errors",
    "DataError": "heedful._errors",
    "compare": "heedful.tasks.compare",
    "load": "heedful.tasks.run",
    "load_watch": "heedful.inspection",
    "rollout": "heedful.inspection",
    "smooth": "heedful.smoothing",
    "train": "heedful.tasks.run",
    "watch": "heedful.inspection",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for, so that the command line answers before PyTorch is loaded."""
    if name in _PACKAGES:
        value: Any = importlib.import_module(f"heedful.{name}")
    elif name in __all__:
        value = getattr(importlib.import_module(_ELSEWHERE.get(name, "heedful.ops")), name)
    else:
        raise AttributeError(f"module 'heedful' has no attribute {name!r}")
    globals()[name] = value  # the next time it is there at once
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
