"""What was expected but not seen, said loudly."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from heedful.inspection.calls import Unseen
from heedful.inspection.capture.recorder import Recorder

_WORDS = ("attention", "attn")


def note_softmax(recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Remembers a softmax over the last axis of what may be a matrix of scores."""
    scores = args[0] if args else kwargs.get("input")
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if not isinstance(scores, torch.Tensor) or axis not in (-1, scores.dim() - 1):
        return
    if scores.dim() >= 3 and scores.shape[-1] > 1 and recorder.listens():
        recorder.softmaxes.setdefault(recorder.module, tuple(scores.shape))


def find_unseen(recorder: Recorder, modules: Mapping[str, nn.Module]) -> list[Unseen]:
    """Rows for modules whose name says attention, for softmax by hand, for compiled modules and for other threads."""
    unseen = list(recorder.recording.unseen)
    known = {call.module for call in recorder.recording} | {one.module for one in unseen}
    unseen += [one for one in _scripted(recorder, modules) if one.module not in known]
    known |= {one.module for one in unseen}
    for name in _expected(recorder, modules):
        if recorder.keep(name) and not any(_inside(other, name) for other in known):
            unseen.append(Unseen(name, _why(recorder, name, modules[name])))
            known.add(name)
    for name, shape in recorder.softmaxes.items():
        covered = name in known or any(_inside(name, other) for other in known if other)
        if len(shape) > 3 and not covered:
            unseen.append(Unseen(name, f"softmax of {list(shape)}, computed by hand: the query and key cannot be seen"))
    return unseen


def _why(recorder: Recorder, name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    if name not in recorder.ran:
        return f"{kind} ran in another thread, where calls of PyTorch cannot be seen"
    shapes = [shape for inside, shape in recorder.softmaxes.items() if _inside(inside, name)]
    if shapes:
        return f"{kind} computes softmax of {list(shapes[0])} by hand: the query and key cannot be seen"
    return f"{kind} ran without a call that can be seen"


def _expected(recorder: Recorder, modules: Mapping[str, nn.Module]) -> list[str]:
    """The modules that ran and are called attention, of nested ones the innermost."""
    ran = recorder.ran | recorder.elsewhere
    named = [
        name
        for name, module in modules.items()
        if name in ran and any(w in type(module).__name__.lower() for w in _WORDS)
    ]
    return [name for name in named if not any(other != name and _inside(other, name) for other in named)]


def _scripted(recorder: Recorder, modules: Mapping[str, nn.Module]) -> list[Unseen]:
    """TorchScript modules of what ran; those inside of another count with it."""
    named = [name for name, module in modules.items() if isinstance(module, torch.jit.ScriptModule)]
    ran = recorder.ran | recorder.elsewhere
    outer = [name for name in named if not any(other != name and _inside(name, other) for other in named)]
    return [
        Unseen(name, "TorchScript: what runs inside cannot be seen")
        for name in outer
        if ran and name.rpartition(".")[0] in {*ran, ""}
    ]


def _inside(name: str, other: str) -> bool:
    """Whether a module is the other one or inside of it."""
    return name == other or other == "" or name.startswith(f"{other}.")
