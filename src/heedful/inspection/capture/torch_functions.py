"""The calls of PyTorch that a torch function mode passes on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from heedful.inspection.capture import heedful_, multihead, sdpa
from heedful.inspection.capture.by_hand import SOFTMAX, HandWritten, note_softmax
from heedful.inspection.capture.recorder import Recorder
from heedful.ops import attention

_ATTENTION: dict[Any, Callable[..., Any]] = {
    attention: lambda recorder, args, kwargs, output: heedful_.captured(args, kwargs),
    F.scaled_dot_product_attention: sdpa.captured,
    F.multi_head_attention_forward: lambda recorder, args, kwargs, output: multihead.captured(recorder, args, kwargs),
}

_NO_TENSORS = frozenset({torch.Size, torch.dtype, torch.device, bool, int})  # what properties give: half of all calls


class TorchFunctionCapture(TorchFunctionMode):
    """Stands between a model and PyTorch; what it calls is called as it is."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder, self.by_hand = recorder, HandWritten(recorder)
        self.by_hand_found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if type(output) in _NO_TENSORS or self._is_plain_step(func):
            return output
        if func in _ATTENTION:
            _attention(self.recorder, func, args, kwargs, output)
        elif not torch.compiler.is_compiling():
            self.recorder.forms.see(func, args, kwargs, output)
            self.by_hand.see(func, args, kwargs, output)
        elif func in SOFTMAX:
            _softmax(self.recorder, args, kwargs)
        return output

    def _is_plain_step(self, func: Any) -> bool:
        """Whether nothing is to be found but known calls: in a step of a generation that so far had no softmax by hand."""
        if func in SOFTMAX and not self.by_hand_found:
            self.by_hand_found = self.recorder.runs() and self.recorder.listens()
        return (
            self.recorder.sequences.goes_on == self.recorder.step and not self.by_hand_found and func not in _ATTENTION
        )


@torch.compiler.disable
def _attention(recorder: Recorder, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
    recorder.take(lambda: _ATTENTION[func](recorder, args, kwargs, output))


@torch.compiler.disable
def _softmax(recorder: Recorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    note_softmax(recorder, args, kwargs)
