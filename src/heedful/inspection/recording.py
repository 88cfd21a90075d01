"""The recording of a model: its calls of attention, and what was expected but not seen."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import torch

from heedful._types import Float, Tensor
from heedful.inspection import storage
from heedful.inspection.calls import AttentionCall, RankedHead, Unseen, chains, layer_number, num_heads
from heedful.inspection.heads import HeadKinds, head_kinds
from heedful.inspection.joined import joined_call, moved_samples, sequences, whole_calls
from heedful.inspection.rollout import Rollout, rollout
from heedful.inspection.token_times import TokenTimes, token_times
from heedful.inspection.tokens import Token, TokenInput
from heedful.ops import AttentionMatrix
from heedful.ops.summaries import Summary

if TYPE_CHECKING:
    from heedful.report.attention import AttentionSection
    from heedful.report.read_axes import AxisInput

_NOTEBOOK_BUDGET = 2_000_000  # bytes of numbers in the page of a notebook, which is saved with it
By = Literal["entropy", "max", "effective_keys", "received", "distance", "first"]


class Recording(Sequence[AttentionCall]):
    """The calls of a model, in their order; `watch` makes it.

    Attributes:
        unseen: what was expected but not seen; complete when the watch has ended.

    Args:
        calls: the calls.
        unseen: what was expected but not seen.

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

    def __init__(self, calls: Iterable[AttentionCall] = (), unseen: Iterable[Unseen] = ()) -> None:
        self._calls, self.unseen = list(calls), list(unseen)
        self._summaries: dict[int, Summary] = {}

    @overload
    def __getitem__(self, key: int) -> AttentionCall: ...
    @overload
    def __getitem__(self, key: slice) -> list[AttentionCall]: ...
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

    def __iter__(self) -> Iterator[AttentionCall]:
        return iter(self._calls)

    def append(self, call: AttentionCall) -> None:
        """Adds a call, as `watch` does for each that it sees."""
        self._calls.append(call)

    def calls(self, name: str) -> list[AttentionCall]:
        """All calls of one module, in their order: when text is generated, one a step.

        Raises:
            KeyError: no attention was seen in the module.
        """
        calls = [call for call in self._calls if call.module == name]
        if not calls:
            names = ", ".join(dict.fromkeys(call.module for call in self._calls)) or "none"
            why = "".join(f" Expected, but not seen: {one.why}." for one in self.unseen if one.module == name)
            raise KeyError(f"no attention was seen in {name!r}; seen: {names}.{why}")
        return calls

    def joined(self, name: str, *, step: int | None = None) -> AttentionMatrix:
        """The one N x M matrix of a module in a generation: prompt and steps are its rows, all keys its columns.

        It is what one pass over the whole text would have, with the queries and keys that the steps had. After a beam search
        its samples are those of the last step, each with the rows of its parents; a target that ended earlier is in none.
        The matrix of a module that ran once is the one of its call.

        Args:
            name: of the module.
            step: the forward pass with which the generation begins; None: the only one.

        Raises:
            KeyError: no attention was seen in the module.
            ValueError: there are several, or the calls of one differ in more than their masks.

        Example:
            >>> from heedful.models import generate, language_model
            >>> model = language_model(vocabulary_size=9, context_length=20, width=8, heads=2, layers=1, ffn_width=8)
            >>> with heedful.watch(model) as seen:
            ...     _ = generate(model, [[1, 2, 3]], 6)
            >>> A = seen.joined("encoder.layers.0.attention")
            >>> A.shape, A.pattern
            ((1, 2, 8, 8), Causal(align=None))
        """
        begun = [calls for calls in sequences(self.calls(name)) if step in (None, calls[0].step)]
        if len(begun) != 1:
            listed = ", ".join(str(calls[0].step) for calls in sequences(self.calls(name)))
            raise ValueError(f"`step` must be the forward pass with which one begins, of {listed}: got {step}.")
        return joined_call(begun[0], moved_samples(self._calls)).matrix

    def whole(self) -> "Recording":
        """The same recording with each generation as one call, joined; what cannot be joined stays as it is."""
        return Recording(whole_calls(self._calls), self.unseen)

    def summaries(self) -> list[Summary]:
        """`AttentionMatrix.summary()` of each call, computed when it is first asked for."""
        return [self._summary(index) for index in range(len(self))]

    def rank(self, by: By = "entropy", *, largest: bool = True) -> list[RankedHead]:
        """All heads of all calls, sorted by a number.

        Args:
            by: what is compared, as a mean over batch and queries: "entropy" in nats, "max" (the largest weight of a row),
                "effective_keys", "received" (the largest mass that one key gets from an average query), "distance" in
                positions, or "first" (the weight of the first key). Matrices for which it is not defined are left out.
            largest: whether the largest come first.

        Raises:
            ValueError: `by` is none of these.
        """
        if by not in get_args(By):
            raise ValueError(f"`by` must be one of {', '.join(get_args(By))}: got {by!r}.")
        ranked = [
            RankedHead(call.module, head, value)
            for call, summary in zip(self._calls, self.summaries(), strict=True)
            for head, value in enumerate(_of_heads(call.matrix, summary, by))
        ]
        return sorted(ranked, key=lambda head: head.value, reverse=largest)

    def rollout(
        self,
        *,
        residual: float = 0.5,
        heads: Sequence[int] | Float[Tensor, "H"] | Float[Tensor, "L H"] | None = None,
        modules: Sequence[str] | None = None,
        step: int | None = None,
    ) -> Rollout:
        """Attention followed through the self-attention of all layers of one stack, in one forward pass or one generation.

        Args:
            residual: the share that goes around the attention.
            heads: which heads, or how they are weighed, as in `heedful.inspection.rollout`.
            modules: the layers to go through, in the order of the calls; None: all self-attention of N x N.
            step: the forward pass, from 0, or the first one of a generation; None: the only one with such attention.

        Raises:
            ValueError: there is none, shapes differ, or there are several stacks, such as an encoder and a decoder, or passes.
        """
        wanted = [c for c in self.whole() if (modules is None or c.module in modules) and step in (None, c.step)]
        found = chains(wanted, one_stack=modules is not None)
        shapes = {call.shape for chain in found for call in chain}
        if len(shapes) != 1:
            listed = ", ".join(str(list(shape)) for shape in sorted(shapes)) or "none"
            raise ValueError(
                f"`rollout` must go through self-attention of one shape [..., H, N, N]: got {listed}; `modules` names those to take."
            )
        if len(found) > 1:
            listed = ", ".join(f"{chain[0].stack or '(the model)'} in step {chain[0].step}" for chain in found)
            raise ValueError(f"`modules` and `step` must leave one stack in one forward pass: got {listed}.")
        return rollout([call.matrix for call in found[0]], residual=residual, heads=heads)

    def heads(
        self,
        tokens: TokenInput | None = None,
        separators: Sequence[Token] | None = None,
        *,
        near: int = 2,
        threshold: float | Mapping[str, float] | None = None,
    ) -> HeadKinds:
        """What kind each head is: previous or next token, first token, same token, induction, separator, local, uniform, alignment.

        The arguments, formulas and sources are those of `heedful.inspection.head_kinds`.

        Args:
            tokens: of the keys of self-attention, strings or ids, `[N]` or `[B, N]`; without them no head can be one of same
                token, induction or separator. A negative id is padding.
            separators: which tokens are separators, strings or ids as they are.
            near: what is local, in positions.
            threshold: from which score on a head is of a kind: one for all kinds, or some by name.
        """
        cross = {call.module for call in self._calls if call.kind == "cross"}
        named = [(call.module, call.matrix) for call in self._calls]
        return head_kinds(named, tokens, separators, near=near, cross=cross, threshold=threshold)

    def token_times(
        self,
        *,
        seconds: float | None = None,
        heads: Sequence[tuple[str | int, int]] | None = None,
        queries: slice | None = None,
        keys: slice | None = None,
        median: int = 7,
        sample: int = 0,
    ) -> TokenTimes:
        """When the decoder of a speech model heard what it wrote, from the heads of cross-attention that follow the sound.

        A decoder hears a token while it writes it: query i, which has read token i, has the time of token i + 1.

        Args:
            seconds: how long all keys last together, 30 for Whisper; None: times are in keys.
            heads: which heads, each a module, or the number of the layer of cross-attention from 0, and the number of the
                head, as `generation_config.alignment_heads` of Whisper has them. None: those of the kind "alignment".
            queries: which of them, such as those behind a prompt; None: all.
            keys: which of them, such as those before padding, from the first one on; None: all.
            median: over how many keys weights are smoothed, an odd number.
            sample: which one of a batch.

        Raises:
            ValueError: there is no cross-attention, no head of it follows the keys, or `heads`, `sample` or `median` do not fit.

        Source: the word timestamps of Whisper, Radford et al. 2023.
        """
        cross = {call.module: call.matrix for call in self.whole() if call.kind == "cross"}
        if not cross:
            raise ValueError("`token_times` needs cross-attention: got none.")
        chosen = [(_module(module, list(cross)), head) for module, head in heads or _aligning(cross)]
        rows = []
        for module, head in chosen:
            matrix = cross[module]
            if not 0 <= head < num_heads(matrix):
                raise ValueError(f"`heads` must be from 0 to {num_heads(matrix) - 1} in {module!r}: got {head}.")
            samples = math.prod(matrix.shape[:-3])
            if not 0 <= sample < samples:
                raise ValueError(f"`sample` must be from 0 to {samples - 1}: got {sample}.")
            weights = matrix[..., queries or slice(None), keys or slice(None)]
            weights = weights.reshape(samples, num_heads(matrix), *weights.shape[-2:])
            rows.append(weights[sample, head].detach())
        if len({row.shape for row in rows}) > 1:
            listed = ", ".join(str(list(row.shape)) for row in rows)
            raise ValueError(f"`heads` must be of matrices of one shape: got {listed}.")
        unit = 1.0 if seconds is None else seconds / cross[chosen[0][0]].shape[-1]
        return token_times(torch.stack(rows), chosen, unit, median)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Saves all calls in a new folder, from which `heedful.load_watch` reads them; nothing N x N is stored.

        Raises:
            WatchFolderError: the folder is in use or cannot be written, or a mechanism has parts that are not of `heedful.ops`.
        """
        storage.save(self, folder, self.unseen)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        tokens: "AxisInput | None" = None,
        axes: "AxisInput" = (),
        title: str = "Attention",
        separators: Sequence[Token] | None = None,
        sample: int | None = None,
        budget: int | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        """Writes one HTML file in which all of it can be looked at, without a network.

        Args:
            path: the file; its folder must exist, and a file that stands there is replaced.
            tokens: strings or ids, of one sample or of the whole batch. They stand along queries and keys, wherever there
                are as many, and tell the kinds of heads that go by tokens, as in `heads`.
            axes: what stands along the axes, where that is more than tokens: `heedful.report.Text`, `Picture`, `Sound`,
                `Series`, `Positions`, or lists of tokens. An axis takes one that has as many positions as it has: the last
                for decoders and the queries of cross-attention, else the first.
            title: the heading.
            separators: which tokens are separators, strings or ids as they are.
            sample: which one of a batch. None: the first, and up to 15 others to choose from where every weight of all fits into
                the file, and tokens, if there are any, are those of the whole batch.
            budget: bytes of numbers that the file may hold: they decide whether every weight of a head is stored, or the
                largest of each row beside an exact map. By default 8 million, or 15 million where every weight fits into them.
            about: short facts that stand under the heading.

        Raises:
            TypeError: tokens are neither strings nor integers.
            ValueError: nothing was seen, or `sample`, `tokens` or an axis does not fit; nothing is written.
            FileNotFoundError: the folder does not exist.

        Example:
            >>> import os, tempfile
            >>> model = heedful.nn.TransformerEncoder(width=8, heads=2, layers=3)
            >>> with heedful.watch(model) as seen:
            ...     _ = model(torch.zeros(1, 3, 8))
            >>> path = tempfile.mkdtemp() + "/report.html"
            >>> seen.report(path, tokens=["the", "sky", "is"])
            >>> os.path.getsize(path) < 1_000_000
            True
        """
        from heedful.report.page import write_report

        section = self.section(
            title=title, tokens=tokens, axes=axes, separators=separators, sample=sample, budget=budget
        )
        write_report(path, title=title, sections=[section], about=about)

    def section(
        self,
        *,
        tokens: "AxisInput | None" = None,
        axes: "AxisInput" = (),
        title: str = "Attention",
        separators: Sequence[Token] | None = None,
        sample: int | None = None,
        budget: int | None = None,
    ) -> "AttentionSection":
        """The section of a report, to stand beside others; the arguments are those of `report`.

        Raises:
            TypeError: tokens are neither strings nor integers.
            ValueError: nothing was seen, or `sample`, `tokens` or an axis does not fit.
        """
        from heedful.report.build import attention_section

        unseen = "; ".join(f"{one.module or 'the model'}: {one.why}" for one in self.unseen)
        text = f"Not seen, though expected: {unseen}." if unseen else ""
        if not self._calls:
            raise ValueError(f"a report needs at least one call of attention: got none. {text}".rstrip())
        return attention_section(
            self,
            title=title,
            text=text,
            axes=axes,
            tokens=tokens,
            separators=separators,
            sample=sample,
            budget=budget,
        )

    def _repr_html_(self) -> str:
        """The page in a frame of a notebook, of which it can touch nothing."""
        from html import escape

        from heedful.report.page import Report

        if not self._calls:
            return f"<pre>{escape(str(self))}</pre>"
        return Report([self.section(budget=_NOTEBOOK_BUDGET)])._repr_html_()

    def __str__(self) -> str:
        """A table of the calls, a generation being one, then their notes, then what was not seen."""
        whole = self.whole()
        if len(whole) < len(self):
            return str(whole)
        notes = Counter(note for call in self._calls for note in call.notes)
        rows = [("module", "layer", "kind", "heads", "N x M", "engine", "entropy of a head, nat")]
        rows += [self._row(index, list(notes)) for index in range(len(self))]
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}  {e:<{widths[4]}}  {f:<{widths[5]}}  {g}"
            for a, b, c, d, e, f, g in rows
        ]
        lines += [f"[{number}] {note} ({count} calls)" for number, (note, count) in enumerate(notes.items(), start=1)]
        if self.unseen:
            lines.append(f"NOT SEEN, though expected: {len(self.unseen)}")
            lines += [f"  {one.module or '(the model)'}: {one.why}" for one in self.unseen]
        return "\n".join(lines)

    def _row(self, index: int, notes: list[str]) -> tuple[str, str, str, str, str, str, str]:
        call = self._calls[index]
        marks = "".join(f" [{notes.index(note) + 1}]" for note in dict.fromkeys(call.notes))
        pooled = call.kind == "self" and not call.causal and 1 < call.shape[-2] != call.shape[-1]
        kind = (
            call.kind
            + (", pooled" if pooled else "")
            + (", picture of {} x {}".format(*call.grid) if call.grid else "")
            + (", causal" if call.causal else "")
            + (f", window {call.window}" if call.window else "")
        )
        entropies = _of_heads(call.matrix, self._summary(index), "entropy")
        entropy = f"{min(entropies):.2f} .. {max(entropies):.2f}" if entropies else "-"
        number = layer_number(call.module)
        shape = call.shape
        return (
            call.module or "(outside)",
            number[0].strip(".") if number else "",
            kind,
            f"{num_heads(call.matrix)}",
            f"{shape[-2]:,} x {shape[-1]:,}",
            call.engine,
            entropy + marks,
        )

    def _summary(self, index: int) -> Summary:
        if index not in self._summaries:
            self._summaries[index] = self._calls[index].matrix.summary()
        return self._summaries[index]


def load_watch(folder: str | os.PathLike[str]) -> Recording:
    """What `Recording.save` wrote.

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
    return Recording(*storage.load(folder))


def _aligning(cross: Mapping[str, AttentionMatrix]) -> list[tuple[str | int, int]]:
    """The heads of cross-attention that follow the keys."""
    kinds = head_kinds(list(cross.items()), cross=set(cross))
    found: list[tuple[str | int, int]] = [(one.module, one.head) for one in kinds if one.kind == "alignment"]
    if not found:
        best = max(kinds, key=lambda one: one.scores["alignment"] or 0)
        raise ValueError(
            "no head of cross-attention follows its keys; `heads` names those to take: "
            f"the nearest is head {best.head} of {best.module!r}, with a score of {best.scores['alignment'] or 0:.2f}."
        )
    return found


def _module(name: str | int, modules: Sequence[str]) -> str:
    """A module of cross-attention, by its name or its number."""
    if isinstance(name, int) and 0 <= name < len(modules):
        return modules[name]
    if name in modules:
        return str(name)
    raise ValueError(f"`heads` must be in {', '.join(modules)}, or from 0 to {len(modules) - 1}: got {name!r}.")


def _of_heads(matrix: AttentionMatrix, summary: Summary, by: By) -> list[float]:
    """A number for each head; none where it is not defined."""
    rows = getattr(summary, by)
    if rows is None or not rows.numel():
        return []
    means: Tensor = rows.reshape(-1, num_heads(matrix), rows.shape[-1]).double().mean(0)
    if by == "received":
        return (means.amax(-1) / matrix.shape[-2]).tolist()
    return means.mean(-1).tolist()
