"""Predictions over HTTP: a request is JSON, its answer is what `heedful predict --format jsonl` prints, as JSON.

    POST /predict   {"inputs": [...], "options": {...}} -> {"predictions": [...]}
    GET /health     whether it takes requests, and how many inputs wait
    GET /schema     all of it as OpenAPI

Each refusal is a status and `{"error": "..."}`. heedful/tasks/request_queue.py decides what is predicted together.
"""

import asyncio
import base64
import binascii
import difflib
import io
import json
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from heedful._errors import DataError, HeedfulError, OutOfMemoryError, enough_memory, needing
from heedful._terminal import visible
from heedful.data.inputs import InputKind
from heedful.tasks.memory import less_memory
from heedful.tasks.predictions import as_json
from heedful.tasks.request_queue import QueueClosed, QueueFull, RequestQueue
from heedful.tasks.run import TrainedModel, load
from heedful.tasks.serve_schema import openapi, path_options
from heedful.tasks.task_inputs import listed

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_SLOWEST = 30.0  # seconds in which a body must have come
_DISCARDED = 1 << 30  # bytes of a body that is too long: read, so that its sender hears why it was refused
_BODIES = 16  # times the longest body: what all bodies together may take
_BACKLOG = 2048  # connections that wait to be accepted
_FIELDS = ("inputs", "options")
_NAMES = ("localhost", "127.0.0.1", "[::1]")  # of this machine


class ModelServer:
    """A trained model that answers over HTTP until it is stopped.

    Args:
        model: what predicts.
        host: the address to listen on; the default is reached from this machine alone.
        port: likewise; 0: a free one.
        batch_size: inputs that are predicted together, where so many wait.
        queue: inputs that may wait; more are refused with 503.
        max_body: bytes of a request; a longer one is refused with 413.

    Raises:
        MissingPackageError: the server library is not installed.
        HeedfulError: the address cannot be listened on.
    """

    def __init__(
        self,
        model: TrainedModel,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        batch_size: int = 64,
        queue: int = 1024,
        max_body: int = 8 << 20,
    ) -> None:
        with needing("serve", "serving"):
            import starlette
            import uvicorn
        del starlette
        for name, value in {"batch_size": batch_size, "queue": queue, "max_body": max_body}.items():
            if value < 1:
                raise HeedfulError(f"`{name}` must be at least 1: got {value}.")
        self.model, self.max_body = model, max_body
        self._socket = _listening(host, port)
        self.host, self.port = host, int(self._socket.getsockname()[1])
        self.queue = RequestQueue(self._predict, batch_size=batch_size, most=queue)
        self._held = 0  # bytes of all bodies
        config = uvicorn.Config(
            self._application(), log_config=None, access_log=False, server_header=False, ws="none", backlog=_BACKLOG
        )
        self._server = _stopping_server()(config, self.queue)

    @property
    def address(self) -> str:
        """Where it is asked."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @cached_property
    def is_local(self) -> bool:
        """Whether this machine alone can reach it."""
        with suppress(ValueError):
            return ip_address(self.host).is_loopback
        return self.host == "localhost"

    def run(self) -> None:
        """Answers until a signal asks it to end, or `stop` does; then it answers what it has taken, and 503 to what is new."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self.queue.close()
            self._socket.close()

    def stop(self) -> None:
        """Takes nothing new and lets `run` end when all is answered; from any thread."""
        self.queue.close()

    def _predict(self, inputs: Sequence[Any], options: Any, numbers: Sequence[int]) -> list[Any]:
        task = self.model.task
        with enough_memory(less_memory(task, predicting=True)):
            return task.predict(self.model.model, inputs, options, numbers)

    def _application(self) -> "Starlette":
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        routes = [
            Route("/predict", self._answer, methods=["POST"]),
            Route("/health", self._health),
            Route("/schema", self._schema),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _refused})

    async def _answer(self, request: "Request") -> "Response":
        from starlette.exceptions import HTTPException
        from starlette.requests import ClientDisconnect
        from starlette.responses import Response

        self._check_sender(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise _error(415, "the body must be JSON: send it with the header Content-Type: application/json.")
        body = bytearray()
        try:
            async with asyncio.timeout(_SLOWEST):
                async for part in self._read(request):
                    body += part
                    self._held += len(part)
                    if self._held > _BODIES * self.max_body:
                        raise _error(503, "too many bodies are read at this time: ask again in 1 s.", 1)
            predictions = await self._predictions(bytes(body))
            content = f'{{"predictions": [{", ".join(map(as_json, predictions))}]}}'
        except TimeoutError:
            raise _error(408, f"the body must come within {_SLOWEST:.0f} s.") from None
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except HTTPException:
            raise
        except Exception as error:
            print(visible(f"heedful: a request failed: {type(error).__name__}: {error}"), file=sys.stderr, flush=True)
            raise _error(500, "the server failed; its own output says why.") from None
        finally:
            self._held -= len(body)
        return Response(content, media_type="application/json")

    async def _predictions(self, body: bytes) -> list[Any]:
        """What is predicted for a body. Raises HTTPException where it is refused."""
        try:
            return await asyncio.wrap_future(self.queue.add(*self._parsed(body)))
        except OutOfMemoryError as error:
            raise _error(413, str(error)) from None
        except QueueFull as error:
            raise _error(503, str(error), error.seconds) from None
        except QueueClosed as error:
            raise _error(503, str(error), 1) from None
        except HeedfulError as error:
            raise _error(422, str(error)) from None

    async def _read(self, request: "Request") -> Any:
        """The body, piece by piece. One that is too long is read to its end all the same, or its sender would see a broken pipe."""
        told = request.headers.get("content-length", "")
        size, too_long = 0, told.isdigit() and int(told) > self.max_body
        if not (too_long and request.headers.get("expect", "").lower() == "100-continue"):
            async for part in request.stream():
                size += len(part)
                too_long = too_long or size > self.max_body
                if not too_long:
                    yield part
                elif size > _DISCARDED:
                    break
        if too_long:
            raise _error(413, f"the body must have at most {self.max_body:,} bytes: got more.")

    def _parsed(self, body: bytes) -> tuple[list[Any], Any]:
        """The inputs and the options of a request. Raises HeedfulError, or HTTPException where it is no JSON."""
        try:
            content = json.loads(body)
        except RecursionError:
            raise _error(400, "the body must be JSON: got lists too deep in each other.") from None
        except ValueError as error:
            raise _error(400, f"the body must be JSON: {visible(error)}.") from None
        task, example = self.model.task, '{"inputs": [...], "options": {...}}'
        if not isinstance(content, dict):
            raise HeedfulError(f"the body must be an object such as {example}: got {_kind(content)}.")
        for name in content.keys() - set(_FIELDS):
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            hint = f", did you mean `{near[0]}`?" if near else f"; known: {', '.join(_FIELDS)}."
            raise HeedfulError(f"unknown field `{visible(name[:80])}`{hint}")
        inputs, options = content.get("inputs", []), content.get("options", {})
        if not isinstance(inputs, list) or (not inputs and task.input is not InputKind.NONE):
            got = "none" if inputs == [] else _kind(inputs)
            raise HeedfulError(f"`inputs` must be a list of at least one input: got {got}.")
        if not isinstance(options, dict):
            raise HeedfulError(f"`options` must be an object: got {_kind(options)}.")
        if len(inputs) > self.queue.most:
            raise _error(413, f"`inputs` must be at most {self.queue.most:,}: got {len(inputs):,}.")
        if task.input in (InputKind.IMAGE, InputKind.AUDIO, InputKind.SERIES):
            inputs = [_file(one, f"inputs[{row}]") for row, one in enumerate(inputs)]
        named = [name for name in options if name in path_options(type(task).Options)]
        if named:
            raise HeedfulError(f"`{named[0]}` names a file of this machine: no request may.")
        return listed(inputs, task), self.model.options(options)

    async def _health(self, request: "Request") -> "Response":
        from starlette.responses import JSONResponse

        queue = self.queue
        content = {
            "status": "stopping" if queue.closed else "ready",
            "task": self.model.task.name,
            "waiting": queue.waiting,
            "running": queue.running,
            "answered": queue.answered,
        }
        return JSONResponse(content, 503 if queue.closed else 200)

    async def _schema(self, request: "Request") -> "Response":
        from starlette.responses import JSONResponse

        self._check_sender(request)
        return JSONResponse(openapi(self.model.task))

    def _check_sender(self, request: "Request") -> None:
        """A page of a browser that made another name point here is refused, where this machine alone may ask."""
        name = request.headers.get("host", "").rpartition(":")
        host = name[0] if name[0] and name[2].isdigit() else "".join(name)
        if self.is_local and host not in (*_NAMES, self.host):
            raise _error(421, f"the address must begin with {' or '.join(_NAMES)}: got {visible(host[:80])!r}.")


def serve(
    run: str | Path | TrainedModel,
    *,
    task: Any = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    batch_size: int = 64,
    queue: int = 1024,
    max_body: int = 8 << 20,
    ready: Callable[[ModelServer], None] | None = None,
) -> None:
    """Serves a trained model over HTTP until Ctrl-C or SIGTERM: `heedful serve`.

    Args:
        run: a run folder, or a model that was loaded.
        task: of a run whose task is a class in a file.
        host: as of `ModelServer`; so are the arguments that follow.
        port: 0: a free one.
        batch_size: inputs that are predicted together.
        queue: inputs that may wait.
        max_body: bytes of a request.
        ready: is called before the first request is taken, and told the server.

    Raises:
        RunFolderError: the run folder cannot be loaded.
        MissingPackageError: the server library is not installed.
        HeedfulError: the address cannot be listened on.

    Example:
        >>> import heedful, json, threading, urllib.request
        >>> texts, labels = ["a fine film", "a dull film"] * 20, ["good", "bad"] * 20
        >>> model = heedful.train("classify", (texts, labels), settings={"training.epochs": 1}, progress=False)
        >>> server = ModelServer(model, port=0)
        >>> thread = threading.Thread(target=server.run)
        >>> thread.start()
        >>> headers, body = {"Content-Type": "application/json"}, json.dumps({"inputs": ["a fine day"]}).encode()
        >>> request = urllib.request.Request(f"{server.address}/predict", body, headers)
        >>> json.load(urllib.request.urlopen(request))["predictions"][0]["input"]
        'a fine day'
        >>> server.stop(); thread.join()
    """
    model = run if isinstance(run, TrainedModel) else load(run, task=task)
    server = ModelServer(model, host=host, port=port, batch_size=batch_size, queue=queue, max_body=max_body)
    if ready is not None:
        ready(server)
    server.run()


class _NamedBytes(io.BytesIO):
    """The bytes of a file, by the name that a prediction has for it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _file(value: Any, name: str) -> _NamedBytes:
    """A file that came as Base64."""
    if not isinstance(value, str):
        raise DataError(f"`{name}` must be the bytes of a file in Base64: got {_kind(value)}.")
    try:
        return _NamedBytes(base64.b64decode(value, validate=True), name)
    except (binascii.Error, ValueError):
        raise DataError(f"`{name}` must be the bytes of a file in Base64: got another text.") from None


def _kind(value: Any) -> str:
    """What a value is called in JSON."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def _error(status: int, reason: str, retry_after: int | None = None) -> Exception:
    from starlette.exceptions import HTTPException

    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    if status in (408, 413, 503):
        headers["Connection"] = "close"  # what may follow is not read
    return HTTPException(status, reason, headers)


async def _refused(request: "Request", error: Any) -> "Response":
    from starlette.responses import JSONResponse

    reasons = {
        404: "there is no such address: known are /predict, /health and /schema.",
        405: f"the method must be {(error.headers or {}).get('Allow', 'another one')}: got {request.method}.",
    }
    return JSONResponse({"error": reasons.get(error.status_code, error.detail)}, error.status_code, error.headers)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that is listened on already: who asks before the server runs has to wait, no more."""
    if not 0 <= port < 1 << 16:
        raise HeedfulError(f"`port` must be from 0 to 65,535: got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(_BACKLOG)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise HeedfulError(f"{host}:{port}: cannot be listened on: {error.strerror or error}.") from None
    return bound


def _stopping_server() -> Any:
    """Uvicorn's server; asked to end, it still answers what was taken, and refuses what is new, before it closes its socket."""
    import uvicorn

    class StoppingServer(uvicorn.Server):
        def __init__(self, config: uvicorn.Config, queue: RequestQueue) -> None:
            super().__init__(config)
            self.queue = queue

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.queue.closed:  # a second signal ends at once
                self.should_exit = self.force_exit = True
            self.queue.close()

        async def on_tick(self, counter: int) -> bool:
            if self.queue.closed and self.queue.idle:
                self.should_exit = True
            return await super().on_tick(counter)

    return StoppingServer
