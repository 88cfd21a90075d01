"""Seeing every attention of a model while it runs."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from heedful.inspection.capture import flash, flex, heedful_, multihead, transformers_, unseen
from heedful.inspection.capture.recorder import Recorder
from heedful.inspection.capture.torch_functions import TorchFunctionCapture
from heedful.inspection.recording import Recording


@contextmanager
def watch(
    model: nn.Module | None = None, *, keep: Callable[[str], bool] | Sequence[str] | None = None, budget: int = 2**30
) -> Iterator[Recording]:
    """Sees every attention of a model, or of all that run, without changing their outputs.

    Recorded are calls of `heedful.attention`, of PyTorch's `scaled_dot_product_attention`, `MultiheadAttention` and what is made
    of it, and of what Hugging Face's attention interface hands out; `docs/watching.md` says which and how. Queries and keys
    are copied to the CPU, no matrix is stored. What looks like attention but could not be seen is in `seen.unseen` and
    below the printed table.

    Args:
        model: any model; its hooks, weights and modes are afterwards as they were, also after an exception. Other models that
            run meanwhile are left alone; calls outside all modules are recorded with the module "". None: all models that
            run, each under the name of its class.
        keep: which modules are wanted: a function of the dotted name, or names, which stand for all that is inside them, too.
        budget: how many bytes of queries and keys are held in memory; the rest is kept in files in a temporary directory,
            which are deleted with the recording.

    Yields:
        The calls, in their order, in the thread of the watch.

    Raises:
        TypeError: `model` is no module, or `keep` is a list of names where there is no model.
        ValueError: `keep` names what the model does not have.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(8, nhead=2, batch_first=True)
        >>> model = torch.nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        >>> with watch(model) as seen:
        ...     _ = model(torch.randn(1, 5, 8))
        >>> [(call.module, call.matrix.shape) for call in seen]
        [('layers.0.self_attn', (1, 2, 5, 5)), ('layers.1.self_attn', (1, 2, 5, 5))]
        >>> seen["layers.0.self_attn"].entropy().shape
        torch.Size([1, 2, 5])
    """
    if not isinstance(model, nn.Module | None):
        raise TypeError(f"`model` must be a torch.nn.Module: got {type(model).__name__}.")
    if model is None and not (keep is None or callable(keep)):
        raise TypeError(f"`keep` must be a function of a module's name where no model is given: got {keep!r}.")
    modules = {} if model is None else dict(model.named_modules())
    recording = Recording()
    recorder = Recorder(recording, _selector(keep, modules), budget)
    recorder.modules = modules
    with ExitStack() as stack:
        stack.callback(_finish, recorder, modules)
        for name, module in modules.items():
            _hook(stack, recorder, name, module)
        if model is None:
            stack.callback(register_module_forward_pre_hook(partial(_join, stack, recorder, modules, Counter())).remove)
        for patch in (heedful_.PATCH, transformers_.PATCH, flash.PATCH, flex.PATCH):
            stack.enter_context(patch.active(recorder))
        stack.enter_context(TorchFunctionCapture(recorder))
        yield recording


def _finish(recorder: Recorder, modules: dict[str, nn.Module]) -> None:
    recorder.recording.unseen = unseen.find_unseen(recorder, modules)
    recorder.close()


def _selector(
    keep: Callable[[str], bool] | Sequence[str] | None, modules: dict[str, nn.Module]
) -> Callable[[str], bool]:
    """A function of a module's name."""
    if keep is None:
        return lambda name: True
    if callable(keep):
        return keep
    names = (keep,) if isinstance(keep, str) else tuple(keep)
    for name in names:
        if name not in modules:
            raise ValueError(f"`keep` must name modules of the model: got {name!r}.")
    return lambda name: any(name == one or name.startswith(f"{one}.") for one in names)


def _hook(stack: ExitStack, recorder: Recorder, name: str, module: nn.Module) -> None:
    """A module says when it begins to run and when it has run; one of TorchScript takes no hooks."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    hooks = [
        module.register_forward_pre_hook(partial(_enter, recorder, name), prepend=True, with_kwargs=True),
        module.register_forward_hook(partial(_leave, recorder, name), always_call=True),
    ]
    if isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)):
        hooks.append(module.register_forward_pre_hook(partial(_note_fast_path, recorder, name), with_kwargs=True))
    for hook in hooks:
        stack.callback(hook.remove)


@torch.compiler.disable
def _join(
    stack: ExitStack,
    recorder: Recorder,
    modules: dict[str, nn.Module],
    known: Counter[str],
    model: nn.Module,
    _: Any,
) -> None:
    """A model that runs for the first time is watched from here on."""
    if recorder.runs() or any(model is module for module in modules.values()):
        return
    kind = type(model).__name__
    known[kind] += 1
    root = kind if known[kind] == 1 else f"{kind} {known[kind]}"
    for name, module in model.named_modules(prefix=root):
        modules[name] = module
        _hook(stack, recorder, name, module)
    recorder.enter(root)  # hooks that a module gets while it begins to run are called from its next run on


def _enter(recorder: Recorder, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if torch.compiler.is_compiling():
        torch.compiler.disable(recorder.enter)(name)
    else:
        recorder.enter(name, (*args, *kwargs.values()))


def _leave(recorder: Recorder, name: str, *_: Any) -> None:
    # no graph may hold it; the way around the compiler costs as much as the function
    (torch.compiler.disable(recorder.leave) if torch.compiler.is_compiling() else recorder.leave)(name)


@torch.compiler.disable
def _note_fast_path(
    recorder: Recorder, name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Remembers for the attention inside which fast path is left; what a whole encoder leaves says more than its layers."""
    note = multihead.leaves_fast_path(module, args, kwargs)
    if note is None:
        return
    for inner, part in module.named_modules(prefix=name):
        if isinstance(part, nn.MultiheadAttention):
            recorder.left.setdefault(inner, note)
