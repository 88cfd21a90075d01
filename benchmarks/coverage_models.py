"""Every architecture of the installed transformers in tiny form: what a watch sees of its attention.

Each model class runs in a process of its own, with eager attention and with PyTorch's kernel. What a watch saw is held
against two witnesses that know nothing of it: the kernels of attention and the softmaxes that enter products, as PyTorch's
dispatcher passes them, and the weights that the model gives itself (`output_attentions`).
"""

import argparse
import importlib
import json
import os
import resource
import select
import signal
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import _tiny_models
from benchmarks._measure import keep
from heedful.inspection import Recording, watch

SECONDS, MEMORY = 60, 8 << 30  # of one class
OFF = 1e-4  # how far a weight may be from the one that the model gives
_KERNELS = ("_scaled_dot_product", "_flash_attention", "_efficient_attention")
_SOFTMAX = ("_softmax", "_safe_softmax")
_PRODUCTS = ("bmm", "mm", "baddbmm", "addmm")
_MIXERS = ("HyperConnection", "HyperConnections")  # in names of modules whose softmax mixes streams, not positions


class Witness(TorchDispatchMode):
    """Counts, in each module, the kernels of attention and the softmaxes whose result enters a product."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.running = [""]
        self.counts: Counter[str] = Counter()
        self.others: dict[str, list[int]] = {}
        self.marked: dict[int, tuple[Any, int]] = {}  # storages with weights, and which softmax they come of
        self.softmaxes: list[tuple[str, list[int]]] = []
        self.used: set[int] = set()
        self.hooks = []
        self.mixers = {
            name for name, one in model.named_modules() if any(word in type(one).__name__ for word in _MIXERS)
        }
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):
                self.hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self.running.append(name)))
                self.hooks.append(
                    module.register_forward_hook(lambda *_: self.running.pop() and None, always_call=True)
                )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name.startswith(_KERNELS):
            self.counts[self.running[-1]] += 1
        elif name in _SOFTMAX and isinstance(output, Tensor) and output.dim() > 2 and output.shape[-1] > 1:
            self._mark(output, len(self.softmaxes))
            self.softmaxes.append((self.running[-1], list(output.shape)))
        else:
            self._follow(name, [one for one in args if isinstance(one, Tensor)], output)
        return output

    def _follow(self, name: str, tensors: list[Tensor], output: Any) -> None:
        for one in tensors:
            mark = self.marked.get(one.untyped_storage()._cdata)
            if mark is None:
                continue
            if name in _PRODUCTS:
                self.used.add(mark[1])
            elif (
                isinstance(output, Tensor)
                and output.is_floating_point()
                and one.numel() <= 2 * output.numel() <= 2 * one.numel()
            ):
                self._mark(output, mark[1])

    def _mark(self, output: Tensor, number: int) -> None:
        self.marked[output.untyped_storage()._cdata] = (output.untyped_storage(), number)

    def close(self) -> None:
        """No hook is left; the softmaxes that entered a product are counted."""
        for hook in self.hooks:
            hook.remove()
        for number, (module, shape) in enumerate(self.softmaxes):
            if module in self.mixers:
                continue
            if number in self.used:
                self.counts[module] += 1
            else:
                self.others[module] = shape
        self.marked.clear()


class Run(NamedTuple):
    """What one run of one class has shown.

    Attributes:
        attention: the implementation.
        calls: how many calls of attention were seen.
        engines: what computed them.
        compared: how many matrices were held against the weights that the model gives.
        differ: those that are others.
        absent: those of whose shape nothing was seen.
        missing: modules with attention of which the watch said nothing.
        unseen: what the watch named, and why.
        changed: whether an output of the model was another while it was watched.
        others: softmaxes that entered no product.
        attention_named: whether there was attention in a module that the watch named.
    """

    attention: str
    calls: int
    engines: list[str]
    compared: int
    differ: list[str]
    absent: list[str]
    missing: list[str]
    unseen: list[tuple[str, str]]
    changed: bool
    others: list[str]
    attention_named: bool

    @property
    def verdict(self) -> str:
        if self.changed or self.differ:
            return "wrong"
        if self.missing or (self.absent and not self.unseen):
            return "silent"
        if self.unseen and (self.absent or self.attention_named):
            return "named"
        return "whole" if self.calls else "none"


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of a model's output."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for one in output.values():
            yield from tensors(one)
    elif isinstance(output, (list, tuple)):
        for one in output:
            yield from tensors(one)


def run(model: nn.Module, inputs: dict[str, Any], attention: str) -> Run:
    """Runs a model alone, watched, and before the witnesses."""
    with torch.no_grad():
        plain = _seeded(model, inputs)
        with watch(model) as seen:
            watched = _seeded(model, inputs)
        changed = not all(
            a.shape == b.shape
            and torch.equal(
                a.nan_to_num(7.0) if a.is_floating_point() else a, b.nan_to_num(7.0) if b.is_floating_point() else b
            )
            for a, b in zip(tensors(plain), tensors(watched), strict=True)
        )
        witness = Witness(model)
        with witness:
            _seeded(model, inputs)
        witness.close()
        given = _given(model, inputs) if attention == "eager" else []
        compared, differ, absent = _compare(seen, given)
    return Run(
        attention, len(seen), sorted({call.engine for call in seen}), compared, differ, absent, _missing(seen, witness.counts),
        [(one.module, one.why) for one in seen.unseen], changed,
        [f"{module} {shape}" for module, shape in witness.others.items()],
        any(_related(one.module, module) for one in seen.unseen for module in witness.counts),
    )  # fmt: skip


def _seeded(model: nn.Module, inputs: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return model(**inputs)


def _given(model: nn.Module, inputs: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """The weights that the model gives itself."""
    torch.manual_seed(0)
    try:
        output = model(**inputs, output_attentions=True)
    except Exception:
        return []
    named = output.items() if isinstance(output, dict) else []
    return [
        (name, one) for name, value in named if "attention" in name for one in tensors(value)
        if one.dim() >= 4 and one.is_floating_point() and _may_be_weights(one)
    ]  # fmt: skip


def _may_be_weights(one: Tensor) -> bool:
    """Some models give hidden states or scores under that name."""
    return bool((one >= 0).all()) and bool((one.flatten(3).sum(-1) < 1 + OFF).all())


def _compare(seen: Recording, given: list[tuple[str, Tensor]]) -> tuple[int, list[str], list[str]]:
    """How many given weights are a recorded matrix, those that are none, and those of whose shape there is none."""
    dense = [call.matrix.dense() for call in seen if call.matrix.shape[-1] * call.matrix.shape[-2] < 2**22]
    compared, differ, absent = 0, [], []
    for index, (name, weights) in enumerate(given):
        same = [one for one in dense if one.numel() == weights.numel() and one.shape[-2:] == weights.shape[-2:]]
        if not same:  # positions that the model puts before its tokens are cut off
            rows, columns = weights.shape[-2:]
            ends = [(n, m) for n in (slice(rows), slice(-rows, None)) for m in (slice(columns), slice(-columns, None))]
            cut = [one[..., n, m] for one in dense for n, m in ends]
            same = [one for one in cut if one.numel() == weights.numel()]
        if not same:  # the model gives them in blocks or of points
            weights = weights.flatten(3) if weights.dim() == 4 else weights.flatten(3).transpose(1, 2)
            weights, same = _sorted(weights, weights.shape[-2]), [_sorted(one, weights.shape[-2]) for one in dense]
            length = min([weights.shape[-1], *(one.shape[-1] for one in same)], default=0)
            weights, same = weights[..., :length], [one[..., :length] for one in same]
            same = [one for one in same if one.numel() == weights.numel()]
            mix = torch.linspace(1.0, 2.0, length, dtype=torch.double)
            if not any(_equal(one, weights) for one in same):  # of windows, too: each row is somewhere
                rows = [(one.double() @ mix).flatten().sort().values for one in (*same, weights)]
                if any(torch.allclose(one, rows[-1], atol=OFF) for one in rows[:-1]):
                    compared += 1
                    continue
        means = [one.mean(-3, keepdim=True).expand_as(one) for one in same]  # that is what some models give
        if any(_equal(one, weights) for one in (*same, *means)):
            compared += 1
        else:
            (differ if same else absent).append(f"{name}[{index}] {list(weights.shape)} given")
    return compared, differ, absent if len(dense) == len(seen) else []  # the largest are not compared


def _sorted(weights: Tensor, rows: int) -> Tensor:
    """The weights of each of the first rows, the largest first."""
    return weights[..., :rows, :].sort(-1, descending=True).values


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two matrices agree; rows without keys, and a factor of a row that comes later, are the model's own affair."""
    ours, theirs = ours.reshape(-1, *ours.shape[-2:]).double(), theirs.reshape(-1, *theirs.shape[-2:]).double()
    rows = [ours, ours / ours.sum(-1, keepdim=True)]
    return any(bool(((one - theirs).abs().amax(-1)[ours.sum(-1) != 0].nan_to_num(0.0) < OFF).all()) for one in rows)


def _missing(seen: Recording, counts: Counter[str]) -> list[str]:
    """Modules with more attention than was seen, which the watch did not name."""
    calls = Counter(call.module for call in seen)
    named = {one.module for one in seen.unseen}
    missing = []
    for module, count in counts.items():
        inside = sum(n for name, n in calls.items() if _related(name, module))
        inside = inside or sum(n for name, n in calls.items() if _related(name, module.rpartition(".")[0]))
        together = any("in blocks" in note for call in seen if call.module == module for note in call.notes)
        if inside < count and not together and not any(_related(name, module) for name in named):
            missing.append(f"{module}: {inside} of {count}")
    return missing


def _related(name: str, other: str) -> bool:
    return name == other or (bool(name and other) and (name.startswith(f"{other}.") or other.startswith(f"{name}.")))


def attempt(spec: str) -> dict[str, Any]:
    """Finds a size and inputs with which a class runs, and runs it with each implementation of attention."""
    module, name = spec.split(":")
    kind = getattr(importlib.import_module(module), name)
    error = ""
    for variant in _tiny_models.VARIANTS:
        try:
            model = _tiny_models.tiny(kind, variant, "eager")
        except Exception as reason:
            error = error or f"not built: {reason!r}"[:300]
            continue
        for inputs in _tiny_models.inputs(model):
            try:
                with torch.no_grad():
                    _seeded(model, inputs)
            except Exception as reason:
                error = error if error.startswith("not run") else f"not run: {reason!r}"[:300]
                continue
            runs = [run(model, inputs, "eager")]
            try:
                model = _tiny_models.tiny(kind, variant, "sdpa")
            except Exception:
                pass
            else:
                runs.append(run(model, inputs, "sdpa"))
            return {"inputs": sorted(inputs), "runs": [one._asdict() | {"verdict": one.verdict} for one in runs]}
    return {"error": error}


def start(spec: str) -> tuple[int, int]:
    """A child that tries a class, and where its answer can be read."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(SECONDS)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    try:
        answer = attempt(spec)
    except BaseException as error:
        answer = {"error": f"failed: {error!r}"[:300], "failed": True}
    with os.fdopen(write, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    os._exit(0)


def answers(specs: list[str], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each class showed, as it comes."""
    waiting, running = list(reversed(specs)), {}
    while waiting or running:
        while waiting and len(running) < workers:
            spec = waiting.pop()
            child, read = start(spec)
            running[read] = (spec, child, bytearray())
        for read in select.select(list(running), [], [])[0]:
            spec, child, data = running[read]
            piece = os.read(read, 1 << 16)
            data += piece
            if piece:
                continue
            os.close(read)
            _, status = os.waitpid(child, 0)
            del running[read]
            yield (
                spec,
                json.loads(data) if data else {"error": f"killed after {SECONDS} s or {MEMORY:,} bytes ({status})"},
            )


VERDICTS = ("wrong", "silent", "named", "whole", "none", "not run")  # the worst first


def main(words: list[str] | None = None) -> None:
    """Tries all architectures, or those that are named, prints a table, and keeps results/coverage_models.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="architectures; none: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--raw", help="a file for all that was found; classes that are in it are not tried again")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    families = {
        name: kinds for name, kinds in _tiny_models.families().items() if not options.names or name in options.names
    }
    specs = [spec for kinds in families.values() for spec in kinds]
    owner = {spec: name for name, kinds in families.items() for spec in kinds}
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    if options.raw and Path(options.raw).exists():
        for name, classes in json.loads(Path(options.raw).read_text()).items():
            found[name] |= classes
    specs = [spec for spec in specs if spec.partition(":")[2] not in found[owner[spec]]]
    begin = time.time()
    for count, (spec, answer) in enumerate(answers(specs, options.workers), start=1):
        found[owner[spec]][spec.partition(":")[2]] = answer
        verdicts = " ".join(one["verdict"] for one in answer.get("runs", ())) or answer["error"][:90]
        print(
            f"{count:5} of {len(specs)}  {time.time() - begin:6.0f} s  {spec.partition(':')[2]:<44} {verdicts}",
            flush=True,
        )
        if options.raw:
            Path(options.raw).write_text(json.dumps(found))
    rows = [summary(name, found[name]) for name in sorted(found) if found[name]]
    for row in rows:
        if row["verdict"] in ("wrong", "silent", "named"):
            print(f"{row['name']:<28} {row['verdict']:<7} {row['why']}")
    counts = {one: sum(row["verdict"] == one for row in rows) for one in VERDICTS}
    print(", ".join(f"{count} {one}" for one, count in counts.items()))
    keep("coverage_models", {"transformers": transformers.__version__, "counts": counts, "architectures": rows})


def summary(name: str, classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One architecture: the worst verdict of its classes, and what it rests on."""
    runs = [(kind, one) for kind, answer in classes.items() for one in answer.get("runs", ())]
    verdict = min((one["verdict"] for _, one in runs), key=VERDICTS.index, default="not run")
    why = "" if runs else next(iter(classes.values()))["error"]
    for kind, one in runs:
        if one["verdict"] == verdict and verdict in ("wrong", "silent", "named"):
            found = (
                one["differ"]
                or [*one["missing"], *one["absent"]]
                or [f"{where}: {what}" for where, what in one["unseen"]]
            )
            why = f"{kind}, {one['attention']}: {'its output changed' if one['changed'] else '; '.join(found[:3])}"
            break
    return {
        "name": name,
        "verdict": verdict,
        "classes": len({kind for kind, _ in runs}),
        "runs": len(runs),
        "calls": sum(one["calls"] for _, one in runs),
        "compared": sum(one["compared"] for _, one in runs),
        "engines": sorted({engine for _, one in runs for engine in one["engines"]}),
        "why": why,
    }


if __name__ == "__main__":
    main()
