"""The page with a server behind it, from which it asks any window of any head: nothing but this machine can reach it.

Whoever wants an answer must know the secret token in the address. What a foreign page in the same browser may try is
refused as well: its requests tell where they come from, and those to a name that it made to point here tell that name.
"""

import hmac
import json
import math
import os
import queue
import re
import secrets
import select
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

import torch

from heedful.inspection.seen import Seen
from heedful.report.attention import AttentionSection
from heedful.report.blocks import Section
from heedful.report.page import render_report
from heedful.report.windows import Box, Gone, Windows

MEMORY = 2**30  # bytes of fine maps, of all layers together

_MOST_CELLS = 2**20  # of one answer
_QUICK, _PATIENT = 1e8, 1e9  # pairs that are computed for a first answer, and for a finer one
_SOON = 0.15  # seconds that a first answer takes at the pace of the last ones
_WAITING = 16  # questions at a time
_CONNECTIONS = 32
_SILENCE = 30.0  # seconds after which a silent connection is closed
_NUMBER, _HEADS = re.compile(r"\d{1,9}"), re.compile(r"\d{1,4}(,\d{1,4}){0,255}")
_BOX = ("top", "bottom", "left", "right")
_NAMES = frozenset(("section", "layer", "heads", *_BOX, "rows", "columns", "effort", "pairs"))
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class LivePage:
    """A page that computes what it shows while somebody looks at it; it answers from the beginning until it is closed.

    Windows of any head come from queries and keys on demand, down to single pairs, however long the sequence is. While
    nobody asks, it fills a map of each head that is finer than that of the page.

    Args:
        title: the heading of the page.
        sections: what it shows, in order.
        seen: for each section what was watched, of which call i is layer i of the section; None: it is shown as in a file.
            Layers behind the last call are shown as in a file, too.
        samples: which one of the batch each section shows; by default the first.
        about: short facts that stand under the heading.
        port: the port on this machine; 0: a free one.
        memory: bytes that the fine maps may take together.

    Raises:
        ValueError: a section does not fit what was seen.
        OSError: the port is in use.

    Example:
        >>> with heedful.watch(model) as seen:  # doctest: +SKIP
        ...     _ = model(tokens)
        >>> page = LivePage(title="BERT", sections=[attention_section(seen, title="A text")], seen=[seen])  # doctest: +SKIP
        >>> print(page.address)  # doctest: +SKIP
        >>> page.serve()  # until Ctrl-C  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        title: str,
        sections: Sequence[Section],
        seen: Sequence[Seen | None],
        samples: Sequence[int] | None = None,
        about: Mapping[str, str] | None = None,
        port: int = 0,
        memory: int = MEMORY,
    ) -> None:
        samples = [0] * len(sections) if samples is None else list(samples)
        if not len(sections) == len(seen) == len(samples):
            raise ValueError(
                f"`seen` and `samples` must have one item for each of {len(sections)} sections: "
                f"got {len(seen)} and {len(samples)}."
            )
        self._windows = _windows(sections, seen, samples, memory)
        live = [0 if watched is None else len(watched) for watched in seen]
        self._page = render_report(title=title, sections=sections, about=about, live=live).encode("utf-8")
        self._token = secrets.token_urlsafe(24)
        self._closed = threading.Event()
        self._worker = _Worker(self._step)
        self._server = _Server(port, self)
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

    def answer(self, path: str, query: str, alive: Callable[[], bool]) -> "_Answer":
        """What stands at a path, of which the first part is the token."""
        _, token, name = (*path.split("/", 2), "", "")[:3]
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return _words(404, "there is nothing here")
        if name == "" and path.endswith("/"):
            return _Answer(200, self._page, "text/html; charset=utf-8")
        if name != "window":
            return _words(404, "there is nothing here")
        try:
            windows, asked = self._asked(query)
        except ValueError as error:
            return _words(400, str(error))
        try:
            found = self._worker.ask(lambda: windows.find(**asked, alive=lambda: alive() and not self._closed.is_set()))
        except queue.Full:
            return _words(503, "too much is asked at a time")
        if found is None:
            return _Answer(200, b"", "application/octet-stream", json.dumps({"rows": 0, "columns": 0}))
        rows, columns = found.values.shape
        facts = json.dumps({**found.box._asdict(), "rows": rows, "columns": columns, "finer": found.finer})
        return _Answer(200, found.values.astype("<f4").tobytes(), "application/octet-stream", facts)

    def _asked(self, query: str) -> tuple[Windows, dict[str, Any]]:
        """What is asked for.

        Raises:
            ValueError: there is no such thing, or it is too much.
        """
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
        given = dict(pairs)
        if set(given) != _NAMES or len(pairs) != len(_NAMES):
            raise ValueError(f"a window must be asked for by {', '.join(sorted(_NAMES))}")
        if not _HEADS.fullmatch(given["heads"]):
            raise ValueError("`heads` must be numbers with commas between them")
        heads = [int(head) for head in given.pop("heads").split(",")]
        for name, value in given.items():
            if not _NUMBER.fullmatch(value):
                raise ValueError(f"`{name}` must be a whole number")
        numbers = {name: int(value) for name, value in given.items()}
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
    sections: Sequence[Section], seen: Sequence[Seen | None], samples: Sequence[int], memory: int
) -> dict[tuple[int, int], Windows]:
    """Of each section and layer that is computed.

    Raises:
        ValueError: a section does not fit what was seen.
    """
    cells = sum(math.prod(call.matrix.shape[-3:]) for watched in seen for call in watched or ())
    found = {}
    for at, (section, watched, sample) in enumerate(zip(sections, seen, samples, strict=True)):
        for index, call in enumerate(watched or ()):
            if not isinstance(section, AttentionSection) or index >= len(section.layers):
                raise ValueError(
                    f"`sections[{at}]` must be an AttentionSection with a layer for each call of `seen[{at}]`."
                )
            layer, shape = section.layers[index], call.matrix.shape
            if (*layer.map.shape[:1], layer.queries, layer.keys) != ((1, *shape)[-3:]):
                raise ValueError(
                    f"layer {index} of `sections[{at}]` must be that of call {index} of `seen[{at}]`, {list(shape)}: "
                    f"got {[*layer.map.shape[:1], layer.queries, layer.keys]}."
                )
            if not 0 <= sample < math.prod(shape[:-3]):
                raise ValueError(f"`samples[{at}]` must be from 0 to {math.prod(shape[:-3]) - 1}: got {sample}.")
            share = memory * math.prod(shape[-3:]) // max(cells, 1)
            found[at, index] = Windows(call.matrix, sample, layer.map, share)
    return found


class _Worker:
    """The one thread that computes: what is asked first, and a little ahead while nothing is."""

    def __init__(self, step: Callable[[], bool]) -> None:
        self._questions: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue(_WAITING)
        self._step: Callable[[], bool] | None = step
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heedful windows", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def ask(self, question: Callable[[], Any]) -> Any:
        """What a function returns in the thread that computes.

        Raises:
            queue.Full: others wait already.
            Gone: the thread has ended.
        """
        answer: Future[Any] = Future()
        self._questions.put_nowait((question, answer))
        while not self._stopped.is_set():
            if wait([answer], 0.5).done:
                return answer.result()
        raise Gone

    def stop(self) -> None:
        """Ends once the present answer is given; the others are not."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with torch.no_grad():
            while not self._stopped.is_set():
                try:
                    question, answer = self._questions.get(timeout=0.2 if self._step is None else 0.001)
                except queue.Empty:
                    self._look_ahead()
                    continue
                try:
                    answer.set_result(question())
                except Exception as error:  # it is the asker's
                    answer.set_exception(error)

    def _look_ahead(self) -> None:
        """Does what nobody has asked for yet; once there is nothing left, or it fails, never again."""
        try:
            has_more = self._step is not None and self._step()
        except Exception:  # whoever asks for the same is told
            has_more = False
        if not has_more:
            self._step = None


class _Answer(NamedTuple):
    """What is sent."""

    status: int
    body: bytes
    kind: str
    facts: str | None = None


def _words(status: int, words: str) -> _Answer:
    return _Answer(status, words.encode("ascii", "replace"), "text/plain; charset=utf-8")


class _Server(ThreadingHTTPServer):
    """On this machine only; a connection more than there may be is closed."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"

    def __init__(self, port: int, page: LivePage) -> None:
        self.page = page
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Takes a connection if there is room for it."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serves a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE
    server: _Server

    def do_GET(self) -> None:
        refused = self._refused()
        if refused is not None:
            self._send(refused)
            return
        parts = urlsplit(self.path)
        try:
            answer = self.server.page.answer(parts.path, parts.query, self._is_waited_for)
        except Gone:
            self.close_connection = True
            return
        except Exception as error:
            answer = _words(500, f"it could not be computed: {type(error).__name__}: {error}")
        self._send(answer)

    def _refused(self) -> _Answer | None:
        """Why a request is not even looked at."""
        port = self.server.server_address[1]
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in hosts:
            return _words(403, "the address must begin with 127.0.0.1 or localhost")
        if origin not in (None, f"http://{host}") or self.headers.get("Sec-Fetch-Site", "none") not in (
            "none",
            "same-origin",
        ):
            return _words(403, "this page answers to itself only: paste its address into a new tab")
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return _words(400, "a request must have no body")
        return None

    def _is_waited_for(self) -> bool:
        """Whether the browser still holds the connection."""
        try:
            if not select.select([self.connection], [], [], 0)[0]:
                return True
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except (OSError, ValueError):
            return False

    def _send(self, answer: _Answer) -> None:
        if answer.status >= 400:
            self.close_connection = True  # what may follow is not read
        self.send_response(answer.status)
        headers = {**_HEADERS, "Content-Type": answer.kind, "Content-Length": str(len(answer.body))}
        if answer.facts is not None:
            headers["Heedful-Window"] = answer.facts
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuses what is no GET, or no HTTP, in a few words."""
        self._send(_words(405, "only GET is answered") if code == 501 else _words(int(code), message or "no"))

    def version_string(self) -> str:
        """Tells nothing of what runs here."""
        return "heedful"

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: the address is a secret, and the console belongs to the one who started this."""
