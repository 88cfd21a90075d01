"""What Hugging Face's attention interface hands out: the same function runs with the same arguments, and is listened to."""

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from heedful._types import Tensor
from heedful.inspection.capture import by_hand
from heedful.inspection.capture.captured import CapturedCall
from heedful.inspection.capture.patch import Patch, call_paused
from heedful.inspection.capture.recorder import Recorder, Refused
from heedful.inspection.masks import read_function
from heedful.ops import Causal, Documents, Global, Local, Mask, Pattern

_NAMES = ("module", "query", "key", "value", "attention_mask")
# arguments that may change the meaning, where the function takes them; named where its output is another than was read
_MEANT = frozenset({
    "sliding_window", "softcap", "s_aux", "sinks", "position_bias", "cu_seq_lens_q", "cu_seq_lens_k", "indices",
    "block_indices", "cache", "block_table",
})  # fmt: skip
_BY_MASK = ("eager", "sdpa", "flex_attention")
_HIDDEN_ROWS = "rows that the mask hides whole are uniform in the model, and 0 here"


def _apply() -> Callable[[], None]:
    """The interface hands out functions that are heard."""
    interface = getattr(sys.modules.get("transformers.modeling_utils"), "AttentionInterface", None)
    if interface is None:
        return lambda: None
    originals: dict[str, Any] = {}
    for name, wrap in (("__getitem__", _getitem), ("get_interface", _get_interface)):
        if hasattr(interface, name):
            originals[name] = vars(interface).get(name)
            setattr(interface, name, wrap(getattr(interface, name)))
    return functools.partial(_restore, interface, originals)


def _restore(interface: type, originals: Mapping[str, Any]) -> None:
    for name, original in originals.items():
        if original is None:  # it was inherited
            delattr(interface, name)
        else:
            setattr(interface, name, original)


PATCH = Patch(_apply)


def _getitem(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __getitem__(self: Any, key: str) -> Any:  # noqa: N807
        return _wrapped(original(self, key), key)

    return __getitem__


def _get_interface(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def get_interface(self: Any, attn_implementation: str, default: Callable[..., Any]) -> Any:
        return _wrapped(original(self, attn_implementation, default), attn_implementation)

    return get_interface


def _wrapped(function: Any, name: str | None) -> Any:
    """The function, each call of which is seen."""
    if not callable(function) or hasattr(function, "_heedful_wrapped"):
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        recorders = PATCH.listening()
        if torch.compiler.is_compiling():  # a graph cannot break within `with`
            _pause(recorders)
            output = function(*args, **kwargs)
            _resume(recorders)
        else:
            output = call_paused(recorders, function, *args, **kwargs)
        _take(recorders, str(name), args, kwargs, output)
        return output

    call._heedful_wrapped = True  # type: ignore[attr-defined]
    return call


@torch.compiler.disable
def _pause(recorders: list[Recorder]) -> None:
    for recorder in recorders:
        recorder.pause()


@torch.compiler.disable
def _resume(recorders: list[Recorder]) -> None:
    for recorder in recorders:
        recorder.resume()


@torch.compiler.disable
def _take(recorders: list[Recorder], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
    arguments = dict(zip(_NAMES, args, strict=False)) | dict(kwargs)
    for recorder in recorders:
        recorder.take(
            functools.partial(_captured, recorder, name, arguments, output),
            functools.partial(_stored, recorder, name, arguments, output),
        )


def _stored(recorder: Recorder, engine: str, arguments: Mapping[str, Any], output: Any) -> CapturedCall | None:
    """The weights that the function gives itself, where its arguments mean something else than is known."""
    weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
    query, key = arguments["query"], arguments["key"]
    if not isinstance(weights, Tensor) or weights.shape != (*query.shape[:-1], key.shape[-2]):
        return None
    call = by_hand.stored(recorder, weights)
    return replace(call, engine=engine, output=output[0].transpose(1, 2), value=arguments["value"])


def _captured(recorder: Recorder, engine: str, arguments: Mapping[str, Any], output: Any) -> CapturedCall:
    """A call of an attention function: `(module, query [B, H, N, D], key [B, G, M, D], value, mask, ...)`."""
    query, key, value = (arguments[name] for name in _NAMES[1:4])
    if arguments.get("cache") is not None:
        raise Refused(f"{engine}: the argument `cache` (paged) replaces the keys inside the function")
    out = output[0] if isinstance(output, tuple) else output
    pattern, bias, empty = _masks(recorder, engine, arguments)
    if not _all_in_mask(engine, arguments):
        pattern = _both(pattern, _packed(engine, arguments), _window(engine, arguments))
    bias = _with_position_bias(engine, arguments, bias)
    options = {
        "pattern": pattern,
        "bias": bias,
        "scale": arguments.get("scaling"),
        "softcap": _softcap(engine, arguments),
        "sinks": _sinks(engine, arguments),
    }
    dropout = arguments.get("dropout") or 0.0
    checked = out.transpose(1, 2) if isinstance(out, Tensor) and not dropout and out.dim() == 4 else None
    suspects = tuple(sorted(n for n in _MEANT if arguments.get(n) is not None))
    notes = (f"{empty} {_HIDDEN_ROWS}",) if empty and engine == "eager" else ()
    step = query.shape[-2] == 1 and key.shape[-2] > 1 and getattr(arguments["module"], "is_causal", False)
    return CapturedCall(
        query, key, engine, options, checked, value, causal=True if step else None, notes=notes, suspects=suspects
    )


def _masks(recorder: Recorder, engine: str, arguments: Mapping[str, Any]) -> tuple[Pattern, Tensor | None, int]:
    """The mask as a pattern, as numbers to add, and how many rows it hides."""
    mask, query, key = arguments.get("attention_mask"), arguments["query"], arguments["key"]
    if mask is None:
        return _causality(engine, arguments), None, 0
    if isinstance(mask, Pattern):
        return mask, None, 0
    if hasattr(mask, "mask_mod"):
        return *_of_blocks(mask, query, key), 0
    if not isinstance(mask, Tensor):
        raise Refused(f"{engine}: the argument `attention_mask` is of a kind that is not known, {type(mask).__name__}")
    if mask.dim() == 2 and engine not in _BY_MASK:  # padding `[B, M]`
        visible = mask.bool()[:, None, None, -key.shape[-2] :]
        padding = recorder.reading(visible).pattern
        rows = Mask(visible.mT.cpu()) if query.shape[-2] == key.shape[-2] else Global()
        return _both(_causality(engine, arguments), padding, rows), None, 0
    if mask.dim() != 4:
        raise Refused(f"{engine}: the argument `attention_mask` must have 4 axes: got {list(mask.shape)}")
    reading = recorder.reading(
        mask if mask.shape[-1] == 1 else mask[..., : key.shape[-2]] if engine == "flex_attention" else mask
    )
    return reading.pattern, reading.bias, reading.empty


def _all_in_mask(engine: str, arguments: Mapping[str, Any]) -> bool:
    """Whether windows and packed documents are in the mask already, so that the function passes over their arguments."""
    return engine in _BY_MASK or isinstance(arguments.get("attention_mask"), Pattern)


def _is_causal(arguments: Mapping[str, Any]) -> bool:
    is_causal = arguments.get("is_causal")
    return bool(getattr(arguments["module"], "is_causal", True) if is_causal is None else is_causal)


def _causality(engine: str, arguments: Mapping[str, Any]) -> Pattern:
    """What a function does without a mask: eager ones see everything, others ask whether the module is causal."""
    queries, keys = arguments["query"].shape[-2], arguments["key"].shape[-2]
    if engine in ("eager", "flex_attention") or queries == 1 or not _is_causal(arguments):
        return Global()
    if queries == keys:
        return Causal()
    return Causal("end" if engine.startswith("flash") else "start")


def _of_blocks(mask: Any, query: Tensor, key: Tensor) -> tuple[Pattern, Tensor | None]:
    """The pattern of a block mask of FlexAttention: its function is asked for some rows at a time."""
    batch, heads = mask.shape[:2] if len(mask.shape) == 4 else (1, 1)
    pattern, _ = read_function(
        rows_of(mask.mask_mod, batch, heads, key.shape[-2], query.device),
        (batch, heads, query.shape[-2], key.shape[-2]),
        query.device,
    )
    return pattern, None


def rows_of(
    function: Callable[..., Tensor],
    batch: int,
    heads: int,
    keys: int,
    device: torch.device,
    offsets: tuple[Any, Any] = (0, 0),
) -> Callable[[Tensor], Tensor]:
    """What a function of (batch, head, query, key) shows in some rows, `[batch, heads, n, keys]`.

    Args:
        function: of four tensors of indices that broadcast.
        batch: how many samples.
        heads: how many heads.
        keys: how many keys.
        device: of the indices.
        offsets: what is added to the indices of queries and of keys.
    """
    samples = torch.arange(batch, device=device)[:, None, None, None]
    head = torch.arange(heads, device=device)[:, None, None]
    columns = torch.arange(keys, device=device) + offsets[1]

    def rows(index: Tensor) -> Tensor:
        visible = function(samples, head, index.to(device)[:, None] + offsets[0], columns)
        return visible.expand(batch, heads, len(index), keys).to(index.device)

    return rows


def _packed(engine: str, arguments: Mapping[str, Any]) -> Pattern:
    """Packed documents, one behind the other."""
    queries, keys = arguments.get("cu_seq_lens_q"), arguments.get("cu_seq_lens_k")
    if queries is None and keys is None:
        return Global()
    if queries is None or keys is None or arguments["query"].shape[0] != 1:
        raise Refused(
            f"{engine}: the arguments `cu_seq_lens_q` and `cu_seq_lens_k` must come together, for a batch of 1"
        )
    if not torch.equal(queries, keys):
        raise Refused(f"{engine}: the arguments `cu_seq_lens_q` and `cu_seq_lens_k` differ")
    return Documents(Documents.from_offsets(queries.cpu().long()).ids)


def _window(engine: str, arguments: Mapping[str, Any]) -> Pattern:
    window = arguments.get("sliding_window")
    if window is None or arguments["key"].shape[-2] <= window:
        return Global()
    align = None if arguments["query"].shape[-2] == arguments["key"].shape[-2] else "end"
    return Local(window - 1, align=align)  # type: ignore[arg-type]


def _with_position_bias(engine: str, arguments: Mapping[str, Any], bias: Tensor | None) -> Tensor | None:
    added = arguments.get("position_bias")
    if added is None:
        return bias
    if not isinstance(added, Tensor):
        raise Refused(f"{engine}: the argument `position_bias` must be a tensor: got {type(added).__name__}")
    added = added[..., : arguments["key"].shape[-2]]
    return added if bias is None else added + bias


def _softcap(engine: str, arguments: Mapping[str, Any]) -> float | None:
    cap = arguments.get("softcap")
    return None if cap is None or cap == 0 else float(cap)


def _sinks(engine: str, arguments: Mapping[str, Any]) -> Tensor | None:
    if arguments.get("sinks") is not None:
        raise Refused(f"{engine}: the argument `sinks` holds a number for each row")
    sinks = arguments.get("s_aux")
    return None if sinks is None else sinks.to(torch.promote_types(sinks.dtype, arguments["query"].dtype))


def _both(*patterns: Pattern) -> Pattern:
    """Pairs that all allow."""
    named = [pattern for pattern in patterns if not isinstance(pattern, Global)]
    return functools.reduce(lambda a, b: a & b, named) if named else Global()
