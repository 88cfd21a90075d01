"""`heedful inspect WHAT INPUT ... --out report.html`."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from heedful._errors import HeedfulError
from heedful._terminal import visible
from heedful._version import __version__
from heedful.cli._input import standard_input
from heedful.cli._paths import UserPath

if TYPE_CHECKING:
    from heedful.data.inputs import ModelInput
    from heedful.inspection import Recording
    from heedful.report import AttentionSection

_FIGURES = (".png", ".svg", ".pdf")


def inspect(
    what: str,
    /,
    *inputs: str,
    out: UserPath | None = None,
    layers: str | None = None,
    heads: str | None = None,
    compare: str | None = None,
    png: UserPath | None = None,
    generate: int | None = None,
    budget: int | None = None,
    serve: Annotated[bool, Parameter(negative="")] = False,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    task: str | None = None,
) -> None:
    """Show what a model attends to: one HTML file that works offline.

    Parameters
    ----------
    what
        A run folder, as `heedful train --out` wrote it; or a model of Hugging Face: its folder, or its name, such as gpt2.
    inputs
        For a run folder: as `heedful predict` takes them. For a model: a text, or a file with a text, an image or a sound; two
        texts for a pair, or source and target text. Without any, or for a `-`, standard input.
    out
        The file to write; report.html, unless the page is served.
    layers
        Which attention calls the file holds: numbers and ranges (0,3-5), or parts of their names (decoder).
    heads
        Which heads are shown first, and drawn by --png: numbers and ranges (0,2-4).
    compare
        Another model for the same inputs, or another input for the same model.
    png
        Also draw a figure: a file that ends in .png, .svg or .pdf.
    generate
        A model of Hugging Face goes on with the text, greedily, for at most so many tokens: the page shows what each token attended
        to, also those of the text. With a source text, the most tokens of the target; by default 64.
    budget
        Megabytes of numbers that the file may hold for each input of a model of Hugging Face; by default 8, or 15 where every
        weight fits into them.
    serve
        Serve the page to this machine alone, until Ctrl-C: any part of any head of a model is then computed on demand, however
        long the input is.
    open_
        Open the page in the browser.
    task
        The task of a run whose task is a class in a file: path/to/task.py:MyTask.
    """
    from heedful.report import write_report

    command = "heedful " + shlex.join(sys.argv[1:])
    if out is None and not serve:
        out = Path("report.html")
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise HeedfulError(f"{out}: the report must be a file in a folder that exists.")
    if png is not None and (png.is_dir() or not png.parent.is_dir() or png.suffix.lower() not in _FIGURES):
        raise HeedfulError(
            f"{png}: the drawing must be a file in a folder that exists, and end in one of {', '.join(_FIGURES)}."
        )
    wanted = _numbers(heads)
    if budget is not None and budget < 1:
        raise HeedfulError(f"--budget must be at least 1 megabyte: got {budget}.")
    if budget is not None and _is_run(what):
        raise HeedfulError("--budget is for models of Hugging Face: a run folder was given.")
    if generate is not None and generate < 1:
        raise HeedfulError(f"--generate must be at least 1 token: got {generate}.")
    if generate is not None and (_is_run(what) or (compare is not None and _is_model(compare) and _is_run(compare))):
        raise HeedfulError("--generate is for models of Hugging Face: a run folder was given.")
    asked = _Inspection(what, inputs, layers, compare, task, budget, generate)
    sections = asked.sections()
    _check_heads(sections, wanted)
    if png is not None:
        _draw(sections[0], png, wanted)
    about = {**asked.about(), "command": command}
    if out is not None:
        try:
            write_report(out, title=asked.title, sections=sections, about=about)
        except OSError as error:
            raise HeedfulError(f"{out}: the report cannot be written: {error.strerror}.") from None
    for note in asked.notes:
        print(visible(f"note: {note}"))
    if png is not None:
        print(visible(f"figure: {png}"))
    first = "" if wanted is None else f"#section-0&head={','.join(map(str, wanted))}"
    if out is not None:
        print(visible(f"report: {out}"))
        if wanted is not None:
            print(f"with these heads: {out.resolve().as_uri()}{first}")
        if open_ and not serve:
            _open(out.resolve().as_uri() + first)
    if serve:
        _serve(asked, sections, about, first, open_)


def _serve(
    asked: "_Inspection", sections: "Sequence[AttentionSection]", about: dict[str, str], first: str, opens: bool
) -> None:
    """Serves the page until Ctrl-C."""
    from heedful.report.live import LivePage

    with LivePage(title=asked.title, sections=sections, recordings=asked.seen, about=about) as page:
        print(f"page, until Ctrl-C: {page.address}{first}", flush=True)
        if opens:
            _open(page.address + first)
        page.serve()


def _open(address: str) -> None:
    import webbrowser

    webbrowser.open(address)


class _Inspection:
    """What is shown: inputs through one model, or two.

    Args:
        what: a run folder, a model's folder, or a model's name.
        inputs: as they were given.
        layers: which attention calls are shown.
        compare: another model, or another input.
        task: of a run whose task is a class in a file.
        budget: megabytes of numbers that a section may hold; None: the default.
        generate: how many tokens a model generates; None: it runs over its text.
    """

    def __init__(
        self,
        what: str,
        inputs: Sequence[str],
        layers: str | None,
        compare: str | None,
        task: str | None,
        budget: int | None,
        generate: int | None,
    ) -> None:
        self.generate = generate
        self.budget = None if budget is None else budget * 1_000_000
        self.what, self.inputs, self.layers, self.task = what, tuple(inputs), layers, task
        self.other = compare if compare is not None and _is_model(compare) else None
        self.also = compare if self.other is None else None
        self.notes: list[str] = []
        self.seen: list[Recording | None] = []  # of each section; None: it comes from a run folder
        self._files: list[Any] | None = None
        self._given: list[ModelInput] | None = None

    @property
    def title(self) -> str:
        """The heading of the page."""
        if _is_run(self.what):
            return "What the model attends to"
        return (
            f"What {_name(self.what)} attends to"
            if self.other is None
            else f"What {_name(self.what)} and {_name(self.other)} attend to"
        )

    def about(self) -> dict[str, str]:
        """The facts under the heading."""
        about = {"run" if _is_run(self.what) else "model": self.what}
        if self.other is not None:
            about["compared with"] = self.other
        return {**about, "heedful": __version__}

    def sections(self) -> "list[AttentionSection]":
        """A section for each input of each model."""
        sections = self._of(self.what, self.also)
        if self.other is None:
            return sections
        others = self._of(self.other, None)
        named = [
            replace(section, title=f"{_name(name)}: {section.title}")
            for name, part in ((self.what, sections), (self.other, others))
            for section in part
        ]
        return [replace(named[0], opens={"view": "compare", "with": f"{len(sections)}:0:mean"}), *named[1:]]

    def _of(self, what: str, also: str | None) -> "list[AttentionSection]":
        return self._of_run(what, also) if _is_run(what) else self._of_model(what, also)

    def _of_run(self, what: str, also: str | None) -> "list[AttentionSection]":
        from heedful.data.inputs import InputKind, all_inputs
        from heedful.hugging_face import chosen
        from heedful.tasks.run import load

        trained = load(what, task=self.task)
        kind = trained.task.input
        if self._files is None:
            self._files = all_inputs(kind, self.inputs, standard_input())
        for stream in self._files:
            if not isinstance(stream, str):
                stream.seek(0)
        if not self._files and kind is not InputKind.NONE:
            raise HeedfulError("give inputs by position, or on standard input: got none.")
        others = [] if also is None else all_inputs(kind, (also,), None)
        sections = list(trained.inspect([*self._files, *others]))
        self.seen += [None] * len(sections)
        if self.layers is None:
            return list(sections)
        kept = [chosen([layer.name for layer in section.layers], self.layers) for section in sections]
        return [
            replace(section, layers=[section.layers[i] for i in places], opens={})
            for section, places in zip(sections, kept, strict=True)
        ]

    def _of_model(self, what: str, also: str | None) -> "list[AttentionSection]":
        from heedful.data.inputs import read_input
        from heedful.hugging_face import load_model, run

        if self._given is None:
            self._given = _read(self.inputs)
        every = [self._given]
        if also is not None:
            every.append([read_input(also), *self._given[1:]])
        loaded = load_model(what)
        sections = []
        for given in every:
            model_run = run(loaded, given, layers=self.layers, budget=self.budget, generate=self.generate)
            sections.append(model_run.section)
            self.seen.append(model_run.recording)
            self.notes += [note for note in model_run.notes if note not in self.notes]
        return sections


def _is_run(what: str) -> bool:
    """Whether this is to be a run folder: it is one, or it is no model's folder and cannot be a model's name."""
    from heedful.hugging_face import is_model_folder, is_name

    return (Path(what) / "run.json").exists() or not (is_model_folder(what) or is_name(what))


def _is_model(word: str) -> bool:
    """Whether what is compared is a model: a folder of one, or a name that is unlikely to be a text, such as gpt2 or org/name."""
    from heedful.data.inputs import SUFFIXES
    from heedful.hugging_face import is_name

    if Path(word).is_dir():
        return True
    unlikely = any(sign in "/-" or sign.isdigit() for sign in word)
    return unlikely and is_name(word) and not word.lower().endswith(SUFFIXES)


def _name(what: str) -> str:
    return Path(what).resolve().name if Path(what).is_dir() else what


def _read(inputs: Sequence[str]) -> "list[ModelInput]":
    """The inputs by position, or the one on standard input."""
    from heedful.data.inputs import from_bytes, read_input, read_stream

    if inputs:
        return [read_input(word) for word in inputs]
    stream = standard_input()
    if stream is None or stream.isatty():
        raise HeedfulError("give inputs by position, or one on standard input: got neither.")
    return [from_bytes(read_stream(stream, "standard input"), "standard input")]


def _numbers(words: str | None) -> list[int] | None:
    """The numbers of "0,2-4", each once and in rising order."""
    if words is None:
        return None
    from heedful.hugging_face import number_range

    found: set[int] = set()
    for word in words.split(","):
        numbers = number_range(word.strip())
        if numbers is None:
            raise HeedfulError(f"--heads must be numbers and ranges, such as 0,2-4: got {word!r}.")
        found |= set(numbers)
    return sorted(found)


def _check_heads(sections: "Sequence[AttentionSection]", wanted: Sequence[int] | None) -> None:
    counts = {len(layer.map) for section in sections for layer in section.layers if layer.kind != "rollout"}
    least = min(counts - {1}, default=1)  # where others have several heads, a mean of heads has none to choose from
    if wanted is not None and wanted[-1] >= least:
        raise HeedfulError(f"--heads must be numbers from 0 to {least - 1}: got {wanted[-1]}.")


def _draw(section: "AttentionSection", png: Path, heads: Sequence[int] | None) -> None:
    """One layer as a matrix, several as an overview."""
    from heedful.report.figure import draw_figure

    layers = [place for place, layer in enumerate(section.layers) if layer.kind != "rollout"]
    one = layers[0] if len(layers) == 1 else None
    try:
        draw_figure(section, png, layer=one, heads=heads, view="overview" if one is None else None)
    except OSError as error:
        raise HeedfulError(f"{png}: the drawing cannot be written: {error.strerror}.") from None
    except ValueError as error:
        raise HeedfulError(f"{png}: {error}") from None
