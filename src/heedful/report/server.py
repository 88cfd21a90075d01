"""The server of a live page: nothing but this machine can reach it.

What a foreign page in the same browser may try is refused: its requests tell where they come from, and those to a name that
it made to point here tell that name.
"""

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from heedful.report.window_sums import Gone

_CONNECTIONS = 32
_SILENCE = 30.0  # seconds in which a piece of an answer must be taken
_DEADLINE = 10.0  # seconds in which a whole request must come, or the connection is closed
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(NamedTuple):
    """What is sent."""

    status: int
    body: bytes
    kind: str
    facts: str | None = None


def text_answer(status: int, words: str) -> Answer:
    """An answer of a few words."""
    return Answer(status, words.encode("ascii", "replace"), "text/plain; charset=utf-8")


Answering = Callable[[str, str, Callable[[], bool]], Answer]


class LocalServer(ThreadingHTTPServer):
    """A server for this machine only; a connection more than there may be is closed.

    Args:
        port: on this machine; 0: a free one.
        answer: from a path, a query and a function that says whether somebody still waits, what is sent.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name != "nt"

    def __init__(self, port: int, answer: Answering) -> None:
        self.answer = answer
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(("127.0.0.1", port), _RequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Takes a connection unless there are too many."""
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


class _RequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE
    server: LocalServer

    def handle_one_request(self) -> None:
        """Reads a request, which may not take forever, and answers it."""
        self._deadline = threading.Timer(_DEADLINE, self._hang_up)
        self._deadline.daemon = True
        self._deadline.start()
        try:
            super().handle_one_request()
        finally:
            self._deadline.cancel()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self._deadline.cancel()
        refused = self._refused()
        if refused is not None:
            self._send(refused)
            return
        parts = urlsplit(self.path)
        try:
            answer = self.server.answer(parts.path, parts.query, self._is_waited_for)
        except Gone:
            self.close_connection = True
            return
        except Exception as error:
            answer = text_answer(500, f"it could not be computed: {type(error).__name__}: {error}")
        self._send(answer)

    def _refused(self) -> Answer | None:
        """Why a request is not even looked at."""
        port = self.server.server_address[1]
        hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        if host not in hosts:
            return text_answer(403, "the address must begin with 127.0.0.1 or localhost")
        if origin not in (None, f"http://{host}") or self.headers.get("Sec-Fetch-Site", "none") not in (
            "none",
            "same-origin",
        ):
            return text_answer(403, "this page answers to itself only: paste its address into a new tab")
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            return text_answer(400, "a request must have no body")
        return None

    def _is_waited_for(self) -> bool:
        """Whether the browser still holds the connection."""
        try:
            if not select.select([self.connection], [], [], 0)[0]:
                return True
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except (OSError, ValueError):
            return False

    def _send(self, answer: Answer) -> None:
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
        self._send(text_answer(405, "only GET is answered") if code == 501 else text_answer(int(code), message or "no"))

    def version_string(self) -> str:
        """Tells nothing of what runs here."""
        return "heedful"

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: the address is a secret, and the console belongs to the one who started this."""
