"""From sections to one HTML file that asks nothing of a network."""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedful._files import checked_target, write_atomic
from heedful.report.blocks import ArrayBlocks, Json, ReportSection, as_text
from heedful.report.bundle import asset, script, styles

FORMAT = "heedful-report/1"


def render_report(
    *, title: str, sections: Sequence[ReportSection], about: Mapping[str, str] | None = None, live: Sequence[int] = ()
) -> str:
    """Returns the page as text; see `write_report`.

    Args:
        title: the heading of the page.
        sections: what it shows, in order.
        about: short facts that stand under the heading.
        live: of how many layers of each section the server from which the page comes computes windows (`live.py`).

    Example:
        >>> from heedful.report import TableSection
        >>> table = TableSection("Accuracy", "", ["model", "accuracy"], [["heedful", 0.98]])
        >>> page = render_report(title="Digits", sections=[table])
        >>> "default-src 'none'" in page
        True
    """
    return "".join(_pieces(title, sections, about or {}, live))


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    sections: Sequence[ReportSection],
    about: Mapping[str, str] | None = None,
) -> None:
    """Writes one HTML file with everything in it: arrays, style and script.

    The file appears whole or not at all. Its size is linear in the number of tokens, because the page computes
    attention rows from queries and keys when they are asked for.

    Args:
        path: the file; its folder must exist, and a file that stands there is replaced.
        title: the heading of the page.
        sections: what it shows, in order.
        about: short facts that stand under the heading, for example a version and a command.

    Raises:
        ValueError: something in a section does not fit; nothing is written.
        FileNotFoundError: the folder does not exist.
    """
    target = checked_target(path)
    pieces = _pieces(title, sections, about or {})
    write_atomic(target, (piece.encode("utf-8") for piece in pieces))


@dataclass(frozen=True)
class Report(Sequence[Any]):
    """Sections that are looked at together: in a notebook, or as a file.

    Attributes:
        sections: what it shows, in order.
        title: the heading of the page.
        about: short facts that stand under the heading.
    """

    sections: Sequence[Any]
    title: str = "Attention"
    about: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.sections)

    def __getitem__(self, index: Any) -> Any:
        return self.sections[index]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page; see `write_report`."""
        write_report(path, title=self.title, sections=self.sections, about=self.about)

    def _repr_html_(self) -> str:
        """The page in a frame of a notebook, of which it can touch nothing."""
        page = html.escape(render_report(title=self.title, sections=self.sections, about=self.about))
        frame = 'sandbox="allow-scripts allow-downloads" width="100%" height="900" style="border: 0"'
        return f'<iframe title="{html.escape(self.title)}" {frame} srcdoc="{page}"></iframe>'


def _pieces(
    title: str, sections: Sequence[ReportSection], about: Mapping[str, str], live: Sequence[int] = ()
) -> Iterator[str]:
    """Checks everything, then returns the page piece by piece, so that no second copy of the arrays is held."""
    blocks = ArrayBlocks()
    payload: Json = {
        "format": FORMAT,
        "title": as_text("`title`", title),
        "about": [[as_text("a name in `about`", n), as_text("a value in `about`", v)] for n, v in about.items()],
        "sections": [section.encode(blocks) for section in sections],
    }
    for index, layers in enumerate(live):
        if layers:
            payload["sections"][index]["live"] = {"section": index, "layers": layers}
    payload["precision"] = blocks.precision
    style, code = styles(), script()
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            *(["connect-src 'self'"] if any(live) else []),
            f"style-src {_hash(style)}",
            f"script-src {_hash(code)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",  # no text of a report can become markup, not even by a mistake
        )
    )
    fixed = {"policy": policy, "title": _as_html(title), "style": style, "script": code, "payload": _as_script(payload)}
    return _fill(asset("page.html"), fixed, blocks)


def _fill(template: str, fixed: Mapping[str, str], blocks: ArrayBlocks) -> Iterator[str]:
    for position, piece in enumerate(re.split(r"\{\{(\w+)\}\}", template)):
        if position % 2 == 0:
            yield piece
        elif piece == "blocks":
            for number, text in enumerate(blocks.texts()):
                yield f'<script type="text/plain" id="block-{number}">{text}</script>\n'
        else:
            yield fixed[piece]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _as_html(text: str) -> str:
    """Escapes text; all that is not ASCII (lone surrogates of odd file names too) becomes a character reference."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _as_script(payload: Json) -> str:
    """Returns JSON that cannot end the script element in which it stands; U+2028 and U+2029 are escaped as well."""
    text = json.dumps(payload, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
