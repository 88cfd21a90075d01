"""What was seen of a model: its calls of attention, and what was expected but not seen."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from heedful._types import Float, Int, Tensor
from heedful.inspection import storage
from heedful.inspection.heads import HeadKinds, head_kinds
from heedful.inspection.rollout import Rollout, rollout
from heedful.ops import AttentionMatrix
from heedful.ops.summaries import Summary

if TYPE_CHECKING:
    from heedful.report import AttentionSection, Side

_NOTEBOOK_ROOM = 2_000_000  # bytes of numbers in the page of a notebook, which is kept with it
By = Literal["entropy", "max", "effective_keys", "received", "distance", "first"]
_FIELDS = {
    "entropy": "entropy",
    "max": "largest",
    "effective_keys": "effective_keys",
    "received": "received",
    "distance": "distance",
    "first": "first",
}


@dataclass(frozen=True)
class SeenAttention:
    """One call of attention.

    Attributes:
        module: the dotted name of the innermost module that was running, "" outside of all.
        kind: "self" or "cross".
        matrix: of the query and key that it had, on the CPU.
        engine: what computed it, such as "scaled_dot_product_attention" or "eager".
        notes: what one should know of it.
        causal: whether no query sees a later key.
        window: how many keys a row sees at most where it sees those near its own position only; None: there is no such limit.
    """

    module: str
    kind: str
    matrix: AttentionMatrix
    engine: str
    notes: tuple[str, ...] = ()
    causal: bool = False
    window: int | None = None


class Missed(NamedTuple):
    """Attention that was expected but not seen.

    Attributes:
        module: the dotted name of the module.
        why: what is known of it.
    """

    module: str
    why: str


class Ranked(NamedTuple):
    """A head and a number.

    Attributes:
        module: the dotted name of the module.
        head: its index.
        value: the mean over batch and queries of what was asked.
    """

    module: str
    head: int
    value: float


class Seen(Sequence[SeenAttention]):
    """The calls that were seen, in their order.

    Attributes:
        missed: what was expected but not seen; complete when the watch has ended.

    Args:
        calls: the calls.
        missed: what was not seen.

    Example:
        >>> model = heedful.nn.TransformerEncoder(width=8, heads=2, layers=3)
        >>> with heedful.watch(model) as seen:
        ...     _ = model(torch.zeros(1, 5, 8))
        >>> len(seen), seen[0].module, seen["layers.0.attention"].shape
        (3, 'layers.0.attention', (1, 2, 5, 5))
        >>> print(seen)
        module              layer  kind  heads  N x M  engine             entropy of a head, nat
        layers.0.attention      0  self      2  5 x 5  heedful.attention  1.61 .. 1.61
        layers.1.attention      1  self      2  5 x 5  heedful.attention  1.61 .. 1.61
        layers.2.attention      2  self      2  5 x 5  heedful.attention  1.61 .. 1.61
    """

    def __init__(self, calls: Iterable[SeenAttention] = (), missed: Iterable[Missed] = ()) -> None:
        self._calls, self.missed = list(calls), list(missed)
        self._summaries: dict[int, Summary] = {}

    @overload
    def __getitem__(self, key: int) -> SeenAttention: ...
    @overload
    def __getitem__(self, key: slice) -> list[SeenAttention]: ...
    @overload
    def __getitem__(self, key: str) -> AttentionMatrix: ...
    def __getitem__(self, key: Any) -> Any:
        """The call at a position, or the matrix of the module of that name (of its last call).

        Raises:
            KeyError: no attention was seen in the module.
        """
        return self.calls(key)[-1].matrix if isinstance(key, str) else self._calls[key]

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[SeenAttention]:
        return iter(self._calls)

    def calls(self, name: str) -> list[SeenAttention]:
        """All calls of one module, in their order: when text is generated, one a step.

        Raises:
            KeyError: no attention was seen in the module.
        """
        found = [call for call in self._calls if call.module == name]
        if not found:
            names = ", ".join(dict.fromkeys(call.module for call in self._calls)) or "none"
            why = "".join(f" It was missed: {m.why}." for m in self.missed if m.module == name)
            raise KeyError(f"no attention was seen in {name!r}; seen: {names}.{why}")
        return found

    def summaries(self) -> list[Summary]:
        """`AttentionMatrix.summary()` of each call, computed when it is first asked for."""
        return [self._summary(index) for index in range(len(self))]

    def rank(self, by: By = "entropy", *, largest: bool = True) -> list[Ranked]:
        """All heads of all calls, sorted by a number.

        Args:
            by: what is compared, as a mean over batch and queries: "entropy" in nats, "max" (the largest weight of a row),
                "effective_keys", "received" (the largest mass that one key gets from an average query), "distance" in
                positions, or "first" (the weight of the first key). Matrices for which it is not defined are left out.
            largest: whether the largest come first.

        Raises:
            ValueError: `by` is none of these.
        """
        if by not in _FIELDS:
            raise ValueError(f"`by` must be one of {', '.join(_FIELDS)}: got {by!r}.")
        found = [
            Ranked(call.module, head, value)
            for call, summary in zip(self._calls, self.summaries(), strict=True)
            for head, value in enumerate(_of_heads(call.matrix, summary, by))
        ]
        return sorted(found, key=lambda ranked: ranked.value, reverse=largest)

    def rollout(
        self,
        *,
        residual: float = 0.5,
        heads: Sequence[int] | Float[Tensor, "H"] | Float[Tensor, "L H"] | None = None,
        modules: Sequence[str] | None = None,
    ) -> Rollout:
        """Attention followed through the self-attention of all layers, in the order of the calls.

        Args:
            residual: the share that goes around the attention.
            heads: which heads, or how they are weighed, as in `heedful.inspection.rollout`.
            modules: the layers to go through; None: all self-attention of N x N.

        Raises:
            ValueError: there is none, or shapes differ.
        """
        chosen = [call for call in self._calls if _square(call) and (modules is None or call.module in modules)]
        shapes = {call.matrix.shape for call in chosen}
        if len(shapes) != 1:
            listed = ", ".join(str(list(shape)) for shape in sorted(shapes)) or "none"
            raise ValueError(
                f"`rollout` must go through self-attention of one shape [..., H, N, N]: got {listed}; `modules` names what to take."
            )
        return rollout([call.matrix for call in chosen], residual=residual, heads=heads)

    def heads(
        self,
        tokens: Int[Tensor, "*B N"] | None = None,
        separators: Sequence[int] | None = None,
        *,
        near: int = 2,
        threshold: float | Mapping[str, float] | None = None,
    ) -> HeadKinds:
        """What kind each head is: previous or next token, first token, same token, induction, separator, local, uniform, alignment.

        The arguments, formulas and sources are those of `heedful.inspection.head_kinds`.

        Args:
            tokens: of the keys of self-attention, `[N]` or `[B, N]`; without them no head can be one of same token, induction
                or separator. A negative one is padding.
            separators: which tokens are separators.
            near: what is local, in positions.
            threshold: from which score on a head is of a kind: one for all kinds, or some by name.
        """
        cross = {call.module for call in self._calls if call.kind == "cross"}
        named = [(call.module, call.matrix) for call in self._calls]
        return head_kinds(named, tokens, separators, near=near, cross=cross, threshold=threshold)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Keeps all calls in a new folder, from which `heedful.load_watch` reads them; nothing N x N is stored.

        Raises:
            WatchFolderError: the folder is in use or cannot be written, or a mechanism has parts that are not of `heedful.ops`.
        """
        storage.save(self, folder, self.missed)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        sides: "Sequence[Side | Sequence[str]]" = (),
        title: str = "Attention",
        tokens: Int[Tensor, "*B N"] | None = None,
        separators: Sequence[int] | None = None,
        sample: int = 0,
        room: int | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Writes one HTML file in which all of it can be looked at, without a network.

        Args:
            path: the file; its folder must exist, and a file that stands there is replaced.
            sides: what stands along the axes: `heedful.report.Text`, `Picture`, `Sound`, `Series`, `Positions`, or
                tokens as strings. An axis takes one that has as many positions as it has: the last for decoders and the
                queries of cross-attention, else the first.
            title: the heading.
            tokens: of the keys of self-attention, as for `heads`.
            separators: which tokens are separators.
            sample: which one of a batch.
            room: bytes of numbers that the file may hold: they decide whether every weight of a head is kept, or the largest
                of each row beside an exact map. By default 8 million, or 15 million where every weight fits into them.
            about: short facts that stand under the heading.

        Raises:
            ValueError: nothing was seen, or `sample` or a side does not fit; nothing is written.
            FileNotFoundError: the folder does not exist.

        Example:
            >>> import os, tempfile
            >>> model = heedful.nn.TransformerEncoder(width=8, heads=2, layers=3)
            >>> with heedful.watch(model) as seen:
            ...     _ = model(torch.zeros(1, 3, 8))
            >>> path = tempfile.mkdtemp() + "/report.html"
            >>> seen.report(path, sides=[["the", "sky", "is"]])
            >>> os.path.getsize(path) < 1_000_000
            True
        """
        from heedful.report import write_report

        section = self._section(title, sides, tokens, separators, sample, room)
        write_report(path, title=title, sections=[section], about=about)

    def _section(
        self,
        title: str,
        sides: "Sequence[Side | Sequence[str]]" = (),
        tokens: Tensor | None = None,
        separators: Sequence[int] | None = None,
        sample: int = 0,
        room: int | None = None,
    ) -> "AttentionSection":
        from heedful.report import Text, attention_section

        missed = "; ".join(f"{m.module or 'the model'}: {m.why}" for m in self.missed)
        return attention_section(
            self,
            title=title,
            text=f"Not seen, though expected: {missed}." if missed else "",
            sides=[Text(side) if isinstance(side, Sequence) else side for side in sides],
            tokens=tokens,
            separators=separators,
            sample=sample,
            room=room,
        )

    def _repr_html_(self) -> str:
        """The page in a frame of a notebook, of which it can touch nothing."""
        from html import escape

        from heedful.report import render_report

        if not self._calls:
            return f"<pre>{escape(str(self))}</pre>"
        page = render_report(title="Attention", sections=[self._section("Attention", room=_NOTEBOOK_ROOM)])
        frame = 'sandbox="allow-scripts allow-downloads" width="100%" height="900" style="border: 0"'
        return f'<iframe title="Attention" {frame} srcdoc="{escape(page)}"></iframe>'

    def __str__(self) -> str:
        """A table of the calls, then their notes, then what was missed."""
        notes = Counter(note for call in self._calls for note in call.notes)
        rows = [("module", "layer", "kind", "heads", "N x M", "engine", "entropy of a head, nat")]
        rows += [self._row(index, list(notes)) for index in range(len(self))]
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}  {e:<{widths[4]}}  {f:<{widths[5]}}  {g}"
            for a, b, c, d, e, f, g in rows
        ]
        lines += [f"[{number}] {note} ({count} calls)" for number, (note, count) in enumerate(notes.items(), start=1)]
        if self.missed:
            lines.append(f"NOT SEEN, though expected: {len(self.missed)}")
            lines += [f"  {missed.module or '(the model)'}: {missed.why}" for missed in self.missed]
        return "\n".join(lines)

    def _row(self, index: int, notes: list[str]) -> tuple[str, str, str, str, str, str, str]:
        call = self._calls[index]
        marks = "".join(f" [{notes.index(note) + 1}]" for note in dict.fromkeys(call.notes))
        kind = call.kind + (", causal" if call.causal else "") + (f", window {call.window}" if call.window else "")
        entropies = _of_heads(call.matrix, self._summary(index), "entropy")
        entropy = f"{min(entropies):.2f} .. {max(entropies):.2f}" if entropies else "-"
        numbers = re.findall(r"\d+", call.module)
        shape = call.matrix.shape
        return (
            call.module or "(outside)",
            numbers[0] if numbers else "",
            kind,
            f"{shape[-3] if len(shape) > 2 else 1}",
            f"{shape[-2]:,} x {shape[-1]:,}",
            call.engine,
            entropy + marks,
        )

    def _summary(self, index: int) -> Summary:
        if index not in self._summaries:
            self._summaries[index] = self._calls[index].matrix.summary()
        return self._summaries[index]


def load_watch(folder: str | os.PathLike[str]) -> Seen:
    """What `Seen.save` kept.

    Args:
        folder: as it was saved.

    Raises:
        WatchFolderError: it is incomplete, damaged, foreign or of a newer version.

    Example:
        >>> import tempfile
        >>> with heedful.watch(torch.nn.Identity()) as seen:
        ...     _ = heedful.attention(*torch.zeros(3, 1, 2, 5, 4))
        >>> folder = tempfile.mkdtemp() + "/watch"
        >>> seen.save(folder)
        >>> heedful.load_watch(folder)[0].matrix.shape
        (1, 2, 5, 5)
    """
    kept = storage.load(folder)
    return Seen((SeenAttention(*call) for call in kept.calls), (Missed(*miss) for miss in kept.missed))


def _square(call: SeenAttention) -> bool:
    return call.kind == "self" and call.matrix.shape[-1] == call.matrix.shape[-2]


def _of_heads(matrix: AttentionMatrix, summary: Summary, by: By) -> list[float]:
    """A number for each head; none where it is not defined."""
    rows = getattr(summary, _FIELDS[by])
    if rows is None or not rows.numel():
        return []
    heads = matrix.shape[-3] if len(matrix.shape) > 2 else 1
    means: Tensor = rows.reshape(-1, heads, rows.shape[-1]).double().mean(0)
    if by == "received":
        return (means.amax(-1) / matrix.shape[-2]).tolist()
    return means.mean(-1).tolist()
