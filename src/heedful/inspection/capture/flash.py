"""Calls of `flash_attn`, where it is installed. Experimental: tested with a stand-in of the same signatures."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from heedful._types import Tensor
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.patch import Patch, call_paused
from heedful.inspection.capture.recorder import Refused
from heedful.ops import ALiBi, Bias, Causal, Documents, Global, Local, Pattern

ENGINE = "flash_attn"
_MODULE = "flash_attn.flash_attn_interface"


def _apply() -> Callable[[], None]:
    """Its functions are classes with `apply`, which everybody calls, also who imported a function early."""
    module, changed = sys.modules.get(_MODULE), []
    for thing in list(vars(module).values()) if module else []:
        if isinstance(thing, type) and issubclass(thing, torch.autograd.Function) and "forward" in vars(thing):
            thing.apply = staticmethod(_wrapped(thing.apply, inspect.signature(thing.forward)))  # type: ignore[method-assign]
            changed.append(thing)
    return functools.partial(_restore, changed)


def _restore(changed: list[type]) -> None:
    for thing in changed:
        delattr(thing, "apply")


PATCH = Patch(_apply)


def _wrapped(apply: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    names = [name for name in signature.parameters if name != "ctx"]

    @functools.wraps(apply)
    def call(*args: Any, **kwargs: Any) -> Any:
        recorders = PATCH.listening()
        output = call_paused(recorders, apply, *args, **kwargs)
        arguments = dict(zip(names, args, strict=False)) | kwargs
        for recorder in recorders:
            recorder.take(functools.partial(_captured, arguments, output))
        return output

    return torch.compiler.disable(call)  # type: ignore[no-any-return]


def _captured(arguments: Mapping[str, Any], output: Any) -> CapturedCall:
    """A call: `q [B, N, H, D]`, or packed `[T, H, D]` with offsets; also with keys and values in one tensor."""
    query, key, value = _operands(arguments)
    out = output[0] if isinstance(output, tuple) else output
    if arguments.get("block_table") is not None:
        raise Refused(f"{ENGINE}: the argument `block_table` (paged) replaces the keys inside the function")
    packed = query.dim() == 3
    pattern = _pattern(arguments, query, key)
    if packed:
        query, key, value, out = (t[None] for t in (query, key, value, out))
    query, key, value, out = (t.transpose(1, 2) for t in (query, key, value, out))
    options = {
        "pattern": pattern,
        "bias": _slopes(arguments, packed),
        "scale": arguments.get("softmax_scale"),
        "softcap": arguments.get("softcap") or None,
    }
    return CapturedCall(query, key, ENGINE, options, None if arguments.get("dropout_p") else out, value)


def _operands(arguments: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    if "qkv" in arguments:
        return arguments["qkv"].unbind(-3)  # type: ignore[no-any-return]
    if "kv" in arguments:
        return arguments["q"], *arguments["kv"].unbind(-3)
    return arguments["q"], arguments["k"], arguments["v"]


def _pattern(arguments: Mapping[str, Any], query: Tensor, key: Tensor) -> Pattern:
    """Causality and windows count from the last key."""
    documents = _documents(arguments)
    before, after = arguments.get("window_size") or (-1, -1)
    causal = bool(arguments.get("causal"))
    queries, keys = query.shape[-3], key.shape[-3]
    if isinstance(documents, Documents) and documents.key_ids is not None and (causal or before >= 0 or after >= 0):
        raise Refused(
            f"{ENGINE}: the arguments `cu_seqlens_q` and `cu_seqlens_k` differ, and there is a window or causality"
        )
    align: Any = None if queries == keys else "end"
    pattern: Pattern = Causal(align) if causal else Global()
    if before >= 0 or (after >= 0 and not causal):
        far = queries + keys
        window = Local(before if before >= 0 else far, 0 if causal else after if after >= 0 else far, align)
        pattern = pattern & window if causal else window
    if isinstance(documents, Global):
        return pattern
    return documents if isinstance(pattern, Global) else pattern & documents


def _documents(arguments: Mapping[str, Any]) -> Pattern:
    queries = arguments.get("cu_seqlens_q", arguments.get("cu_seqlens"))
    keys = arguments.get("cu_seqlens_k", queries)
    if queries is None:
        return Global()
    ids = Documents.from_offsets(queries.cpu().long()).ids
    return (
        Documents(ids) if torch.equal(queries, keys) else Documents(ids, Documents.from_offsets(keys.cpu().long()).ids)
    )


def _slopes(arguments: Mapping[str, Any], packed: bool) -> Bias | None:
    slopes = arguments.get("alibi_slopes")
    if slopes is None:
        return None
    if packed or slopes.dim() != 1:
        raise Refused(f"{ENGINE}: the argument `alibi_slopes` must be one for each head of samples that are not packed")
    return ALiBi(slopes, align="end")
