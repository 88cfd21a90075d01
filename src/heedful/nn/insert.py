"""Attention put into a network that exists, and taken out of it again."""

import difflib
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from heedful._checks import check_choice
from heedful._types import Tensor
from heedful.nn.image import ChannelAttention, DualAttention, SelfAttention2d, SpatialAttention

Kind = Literal["spatial", "channel", "dual", "sagan"]

_KINDS: dict[str, Callable[[int], nn.Module]] = {
    "spatial": SpatialAttention,
    "channel": ChannelAttention,
    "dual": DualAttention,
    "sagan": SelfAttention2d,
}
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # what they hold is run or counted: nothing may be added
_SIDES = (64, 224)  # of the picture of a trial; the larger one where a network does not take the smaller
_Network = TypeVar("_Network", bound=nn.Module)


def add_attention(
    network: _Network,
    *,
    after: str | Sequence[str],
    kind: Kind | Callable[[int], nn.Module] = "dual",
    example: Tensor | None = None,
) -> _Network:
    """Attention acts on what some modules of a network give, from now on; at first it changes nothing, as gamma is 0.

    The network is changed in place and given back. Its own parameters, buffers, modes, hooks and the keys of its
    `state_dict` stay; the new keys end with "attention" and the names of the layer. A hook of a module sees what the
    module itself gives. `remove_attention` takes all of it out again.

    Args:
        network: any module, such as one of torchvision or timm.
        after: names of modules whose output is `[B, C, H, W]`, as `named_modules` has them, such as "layer3"; "*" and "?"
            stand for characters between two dots, as in "layer?.1".
        kind: "spatial", "channel", "dual" or "sagan", or a function that makes a layer of the number of channels, such as
            `functools.partial(heedful.nn.DualAttention, order="spatial-first")`.
        example: an input of the network. The channels of what is no convolution and no batch norm are found by running
            the network once, without its hooks, and in evaluation, so that no statistics move; None: on a black picture.

    Raises:
        ValueError: there is no such module, it gives something else, has attention already, or the network does not run.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 3))
        >>> [name for name, _ in add_attention(network, after="1", kind="spatial").named_parameters()][2:5]
        ['1.attention.gamma', '1.attention.query_conv.weight', '1.attention.query_conv.bias']
        >>> len(list(remove_attention(network).parameters()))
        4
    """
    make = kind if callable(kind) else _KINDS[check_choice("kind", kind, tuple(_KINDS))]
    names = [_innermost(network, name) for name in _matching(network, after)]
    for name in names:
        if any(isinstance(hook, _Attend) for hook in network.get_submodule(name)._forward_hooks.values()):
            raise ValueError(f"`after` must name modules that have no attention behind them yet: got {name!r}.")
        if isinstance(_owner(network, name)[0], _CONTAINERS):
            raise ValueError(
                f"`after` must name modules that are not containers within containers alone: got {name!r}."
            )
    channels = _channels(network, names, example)
    for name in names:
        target, (owner, child) = network.get_submodule(name), _owner(network, name)
        attention = make(channels[name]).train(target.training)
        learned = next((p for p in [*target.parameters(), *network.parameters()] if p.is_floating_point()), None)
        if learned is not None:
            attention.to(learned.device, learned.dtype)
        while hasattr(owner, child):  # an attention of the network's own
            child += "_"
        owner.add_module(child, attention)
        target.register_forward_hook(_Attend(attention))
    return network


def remove_attention(network: _Network, *, after: str | Sequence[str] | None = None) -> _Network:
    """Takes out what `add_attention` put in; the network is changed in place and given back.

    Args:
        network: where it was put in.
        after: of which modules, as there; None: all.

    Raises:
        ValueError: there is none.

    Example:
        >>> network = add_attention(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3)), after="0", kind="channel")
        >>> list(network.state_dict()), list(remove_attention(network).state_dict())
        (['0.weight', '0.bias', '0.attention.gamma'], ['0.weight', '0.bias'])
    """
    modules = dict(network.named_modules())
    removed = 0
    for name in modules if after is None else [_innermost(network, one) for one in _matching(network, after)]:
        for number, hook in list(modules[name]._forward_hooks.items()):
            if isinstance(hook, _Attend):
                owner = _owner(network, name)[0]
                delattr(owner, next(child for child, module in owner.named_children() if module is hook.attention))
                del modules[name]._forward_hooks[number]
                removed += 1
    if not removed:
        raise ValueError(
            f"`network` must have attention that was added: got none after {'any module' if after is None else repr(after)}."
        )
    return network


class _Attend:
    """A hook: what a module gives goes through attention. It is a value, so that networks can be copied and pickled."""

    def __init__(self, attention: nn.Module) -> None:
        self.attention = attention

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        return self.attention(output)  # type: ignore[no-any-return]


class _Reached(Exception):
    """All modules of a trial have run."""


def _matching(network: nn.Module, after: str | Sequence[str]) -> list[str]:
    """The names of the modules that are meant."""
    names = [name for name, _ in network.named_modules() if name]
    found: dict[str, None] = {}
    for wanted in (after,) if isinstance(after, str) else after:
        matching = [name for name in names if _is_like(name, wanted)]
        if not matching:
            near = difflib.get_close_matches(wanted, names, 3, 0.4)
            hint = f"; the nearest names are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"`after` must name modules of the network: got {wanted!r}{hint}.")
        found |= dict.fromkeys(matching)
    return list(found)


def _is_like(name: str, wanted: str) -> bool:
    parts, patterns = name.split("."), wanted.split(".")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _innermost(network: nn.Module, name: str) -> str:
    """The module itself, or the last one of a sequence that nothing but containers holds."""
    module = network.get_submodule(name)
    while type(module).forward is nn.Sequential.forward and len(module) and _owner(network, name)[0] is module:  # type: ignore[arg-type]
        last = list(module._modules)[-1]
        name, module = f"{name}.{last}" if name else last, module.get_submodule(last)
    return name


def _owner(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the attention behind another one, and under which name: the nearest that is no container."""
    parts = name.split(".") if name else []
    for count in range(len(parts), -1, -1):
        module = network.get_submodule(".".join(parts[:count]))
        if not isinstance(module, _CONTAINERS):
            return module, "_".join([*parts[count:], "attention"])
    return network.get_submodule(name), "attention"


def _channels(network: nn.Module, names: Sequence[str], example: Tensor | None) -> dict[str, int]:
    """How many channels each module gives."""
    channels: dict[str, int] = {}
    for name in names:
        module = network.get_submodule(name)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            channels[name] = module.out_channels
        elif isinstance(module, nn.BatchNorm2d):
            channels[name] = module.num_features
    unknown = [name for name in names if name not in channels]
    if unknown:
        channels |= _tried(network, unknown, example)
    return channels


def _tried(network: nn.Module, names: Sequence[str], example: Tensor | None) -> dict[str, int]:
    """The channels that some modules give in a run of the network, which ends when all have run."""
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    examples = [] if example is None else [example]
    if example is None and first is not None:
        examples = [first.weight.new_zeros(1, first.in_channels, side, side) for side in _SIDES]
    if not examples:
        raise ValueError("`example` must be an input of the network where it has no convolution: got None.")
    channels: dict[str, int] = {}
    reason: Exception | None = None

    def seen(name: str, output: Any) -> None:
        if not isinstance(output, Tensor) or output.dim() != 4:
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise _NoPicture(
                f"`after` must name modules that give [batch, channels, height, width]: {name!r} gives {got}."
            )
        channels[name] = output.shape[1]
        if len(channels) == len(names):
            raise _Reached

    for picture in examples:
        with _bare(network), torch.no_grad():
            for name in names:
                network.get_submodule(name).register_forward_hook(lambda m, x, out, name=name: seen(name, out))
            try:
                network(picture)
            except _Reached:
                return channels
            except _NoPicture as error:
                raise ValueError(str(error)) from None
            except Exception as error:
                reason = error
                continue
        missing = [name for name in names if name not in channels]
        raise ValueError(f"`after` must name modules that run: {missing[0]!r} did not.")
    words = "" if reason is None else f": {reason}"
    given = "a black picture" if example is None else "it"
    raise ValueError(f"`example` must be an input of the network, which did not run on {given}{words}")


class _NoPicture(Exception):
    """A module gave something else than a feature map."""


@contextmanager
def _bare(network: nn.Module) -> Iterator[None]:
    """The network in evaluation and without hooks, for a while."""
    modules = list(network.modules())
    before = [(m.training, m._forward_hooks.copy(), m._forward_pre_hooks.copy()) for m in modules]
    try:
        for m in modules:
            m.training = False
            m._forward_hooks.clear()
            m._forward_pre_hooks.clear()
        yield
    finally:
        for m, (training, hooks, pre_hooks) in zip(modules, before, strict=True):
            m.training = training
            for now, then in ((m._forward_hooks, hooks), (m._forward_pre_hooks, pre_hooks)):
                now.clear()
                now.update(then)
