"""The page with a server behind it, from which it asks any window of any head.

Whoever wants an answer must know the secret token in the address; `server.py` refuses all that does not come from this machine.
"""

import hmac
import json
import math
import queue
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

import torch

from heedful.inspection.calls import AttentionCall
from heedful.inspection.joined import whole_calls
from heedful.report.attention import AttentionSection
from heedful.report.blocks import ReportSection
from heedful.report.cell_grid import Box
from heedful.report.cells import cuts_of
from heedful.report.page import render_report
from heedful.report.server import Answer, LocalServer, text_answer
from heedful.report.windows import MatrixWindows
from heedful.report.worker import Worker

MEMORY = 2**30  # bytes of fine maps, of all layers together

_MOST_CELLS = 2**20  # of one answer
_QUICK, _PATIENT = 1e8, 1e9  # pairs that are computed for a first answer, and for a finer one
_SOON = 0.15  # seconds that a first answer takes at the pace of the last ones
_NUMBER, _HEADS = re.compile(r"\d{1,9}"), re.compile(r"\d{1,4}(,\d{1,4}){0,255}")
_BOX = ("top", "bottom", "left", "right")
_NAMES = frozenset(("section", "layer", "heads", *_BOX, "rows", "columns", "effort", "pairs"))


class LivePage:
    """A page that computes what it shows while somebody looks at it; it answers from the beginning until it is closed.

    MatrixWindows of any head come from queries and keys on demand, down to single pairs, however long the sequence is. While
    nobody asks, it fills a map of each head that is finer than that of the page.

    Args:
        title: the heading of the page.
        sections: what it shows, in order.
        recordings: for each section the recording, of which call i is layer i of the section, a generation being
            one; None: it is shown as in a file.
            Layers behind the last call are shown as in a file, too.
        samples: which one of the batch each section shows; by default the first.
        about: short facts that stand under the heading.
        port: the port on this machine; 0: a free one.
        memory: bytes that the fine maps may take together.

    Raises:
        ValueError: a section does not fit its recording.
        OSError: the port is in use.

    Example:
        >>> with heedful.watch(model) as seen:  # doctest: +SKIP
        ...     _ = model(tokens)
        >>> page = LivePage(title="BERT", sections=[seen.section(title="A text")], recordings=[seen])  # doctest: +SKIP
        >>> print(page.address)  # doctest: +SKIP
        >>> page.serve()  # until Ctrl-C  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        title: str,
        sections: Sequence[ReportSection],
        recordings: Sequence[Sequence[AttentionCall] | None],
        samples: Sequence[int] | None = None,
        about: Mapping[str, str] | None = None,
        port: int = 0,
        memory: int = MEMORY,
    ) -> None:
        samples = [0] * len(sections) if samples is None else list(samples)
        if not len(sections) == len(recordings) == len(samples):
            raise ValueError(
                f"`recordings` and `samples` must have one item for each of {len(sections)} sections: "
                f"got {len(recordings)} and {len(samples)}."
            )
        recordings = [None if calls is None else whole_calls(calls) for calls in recordings]
        self._windows = _windows(sections, recordings, samples, memory)
        live = [0 if calls is None else len(calls) for calls in recordings]
        self._page = render_report(title=title, sections=sections, about=about, live=live).encode("utf-8")
        self._token = secrets.token_urlsafe(24)
        self._closed = threading.Event()
        self._worker = Worker(self._step)
        self._server = LocalServer(port, self.answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="heedful page", daemon=True
        )
        self._worker.start()
        self._thread.start()

    @property
    def port(self) -> int:
        """The port on this machine."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """Where a browser on this machine finds the page; whoever knows it may ask."""
        return f"http://127.0.0.1:{self.port}/{self._token}/"

    def serve(self) -> None:
        """Waits until the page is closed, or until Ctrl-C, which closes it."""
        try:
            while not self._closed.wait(0.5):
                pass
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Ends all answers and frees the port; a second time it does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._worker.stop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, path: str, query: str, alive: Callable[[], bool]) -> Answer:
        """What stands at a path, of which the first part is the token."""
        _, token, name = (*path.split("/", 2), "", "")[:3]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return text_answer(404, "there is nothing here")
        if name == "" and path.endswith("/"):
            return Answer(200, self._page, "text/html; charset=utf-8")
        if name != "window":
            return text_answer(404, "there is nothing here")
        try:
            windows, request = self._request(query)
        except ValueError as error:
            return text_answer(400, str(error))
        try:
            window = self._worker.ask(
                lambda: windows.window(**request, alive=lambda: alive() and not self._closed.is_set())
            )
        except queue.Full:
            return text_answer(503, "too many requests at a time")
        if window is None:
            return Answer(200, b"", "application/octet-stream", json.dumps({"rows": [], "columns": []}))
        edges = {name: starts.tolist() for name, starts in window.edges._asdict().items()}
        facts = json.dumps({**edges, "finer": window.finer}, separators=(",", ":"))
        return Answer(200, window.values.astype("<f4").tobytes(), "application/octet-stream", facts)

    def _request(self, query: str) -> tuple[MatrixWindows, dict[str, Any]]:
        """The window that a query asks for.

        Raises:
            ValueError: there is no such thing, or it is too much.
        """
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
        fields = dict(pairs)
        if set(fields) != _NAMES or len(pairs) != len(_NAMES):
            raise ValueError(f"a window must be asked for by {', '.join(sorted(_NAMES))}")
        if not _HEADS.fullmatch(fields["heads"]):
            raise ValueError("`heads` must be numbers with commas between them")
        heads = [int(head) for head in fields.pop("heads").split(",")]
        for name, value in fields.items():
            if not _NUMBER.fullmatch(value):
                raise ValueError(f"`{name}` must be a whole number")
        numbers = {name: int(value) for name, value in fields.items()}
        windows = self._windows.get((numbers["section"], numbers["layer"]))
        if windows is None:
            raise ValueError("there is no such layer to compute")
        if max(heads) >= windows.heads or len(set(heads)) < len(heads):
            raise ValueError(f"`heads` must be different heads from 0 to {windows.heads - 1}")
        box = Box(*(numbers[name] for name in _BOX))
        if not (0 <= box.top < box.bottom <= windows.queries and 0 <= box.left < box.right <= windows.keys):
            raise ValueError(f"a window must lie within {windows.queries} x {windows.keys} pairs, and not be empty")
        rows, columns = min(numbers["rows"], box.height), min(numbers["columns"], box.width)
        if not 1 <= rows * columns <= _MOST_CELLS:
            raise ValueError(f"`rows` times `columns` must be from 1 to {_MOST_CELLS}")
        patient = numbers["effort"] > 0 or numbers["pairs"] > 0
        return windows, {
            "heads": heads,
            "box": box,
            "rows": rows,
            "columns": columns,
            "limit": _PATIENT if patient else min(_QUICK, _SOON * windows.pace),
            "most": _PATIENT,
            "only_pairs": numbers["pairs"] > 0,
        }

    def _step(self) -> bool:
        return any(windows.step() for windows in self._windows.values())


def _windows(
    sections: Sequence[ReportSection],
    recordings: Sequence[Sequence[AttentionCall] | None],
    samples: Sequence[int],
    memory: int,
) -> dict[tuple[int, int], MatrixWindows]:
    """Of each section and layer that is computed.

    Raises:
        ValueError: a section does not fit its recording.
    """
    cells = sum(math.prod(call.shape[-3:]) for calls in recordings for call in calls or ())
    windows = {}
    for at, (section, calls, sample) in enumerate(zip(sections, recordings, samples, strict=True)):
        for index, call in enumerate(calls or ()):
            if not isinstance(section, AttentionSection) or index >= len(section.layers):
                raise ValueError(
                    f"`sections[{at}]` must be an AttentionSection with a layer for each call of `recordings[{at}]`."
                )
            layer, shape = section.layers[index], call.shape
            if (*layer.map.shape[:1], layer.queries, layer.keys) != ((1, *shape)[-3:]):
                raise ValueError(
                    f"layer {index} of `sections[{at}]` must be that of call {index} of `recordings[{at}]`, {list(shape)}: "
                    f"got {[*layer.map.shape[:1], layer.queries, layer.keys]}."
                )
            if not 0 <= sample < math.prod(shape[:-3]):
                raise ValueError(f"`samples[{at}]` must be from 0 to {math.prod(shape[:-3]) - 1}: got {sample}.")
            share = memory * math.prod(shape[-3:]) // max(cells, 1)
            cuts = cuts_of(section.axes[layer.rows]), cuts_of(section.axes[layer.columns])
            edges = (layer.row_starts, layer.column_starts)
            starts = None if None in edges else [torch.as_tensor(edge) for edge in edges]
            windows[at, index] = MatrixWindows(call.matrix, sample, layer.map, share, cuts, starts)
    return windows
