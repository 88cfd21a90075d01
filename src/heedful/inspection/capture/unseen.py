"""What was expected but not seen, said loudly."""

from collections.abc import Mapping

import torch
from torch import nn

from heedful.inspection.calls import Unseen
from heedful.inspection.capture.by_hand import ENGINE
from heedful.inspection.capture.recorder import Recorder

_WORDS = ("attention", "attn")
_OTHERWISE = "linear and recurrent attention and convolutions have no matrix of such weights"
_NO_PRODUCT = "it was not seen to multiply values"


def find_unseen(recorder: Recorder, modules: Mapping[str, nn.Module]) -> list[Unseen]:
    """Rows for modules whose name says attention, for softmax by hand, for compiled modules and for other threads."""
    unseen = list(recorder.recording.unseen)
    seen = {call.module for call in recorder.recording}
    by_hand = {call.module for call in recorder.recording if call.engine == ENGINE}
    known = seen | {one.module for one in unseen}
    unseen += [one for one in _scripted(recorder, modules) if one.module not in known]
    known |= {one.module for one in unseen}
    for name in _expected(recorder, modules):
        covered = any(_inside(other, name) or (other in seen and _inside(name, other or name)) for other in known)
        if recorder.keep(name) and not covered:
            unseen.append(Unseen(name, _why(recorder, name, modules[name])))
            known.add(name)
    least = (
        4 if seen else 3
    )  # axes: a softmax of fewer is more often a gate, but where nothing was seen each one may be meant
    for name, shape in _unused(recorder).items():
        covered = name in known - by_hand or any(_inside(name, other) for other in known - by_hand if other)
        if len(shape) >= least and not covered:
            unseen.append(Unseen(name, f"softmax of {list(shape)} by hand: {_NO_PRODUCT}"))
    return unseen


def _unused(recorder: Recorder) -> dict[str, tuple[int, ...]]:
    """A softmax of each module that has one over several keys which became no call."""
    seen = recorder.used | recorder.gates
    left = (softmax for i, softmax in enumerate(recorder.softmaxes) if i not in seen)
    return {name: shape for name, shape in left if shape[-1] > 1}


def _why(recorder: Recorder, name: str, module: nn.Module) -> str:
    kind = type(module).__name__
    if name not in recorder.ran:
        return f"{kind} ran in another thread, where calls of PyTorch cannot be seen"
    shapes = [shape for inside, shape in _unused(recorder).items() if _inside(inside, name)]
    if shapes:
        return f"{kind} computes softmax of {list(shapes[0])} by hand: {_NO_PRODUCT}"
    return f"{kind} ran without a softmax over keys: {_OTHERWISE}"


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
