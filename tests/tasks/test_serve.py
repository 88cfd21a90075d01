"""`heedful serve`: each answer is what `predict` gives, and each refusal a status with its reason."""

import base64
import http.client
import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import heedful as package
from heedful._errors import HeedfulError
from heedful.tasks.predictions import as_json
from heedful.tasks.serve import ModelServer
from heedful.tasks.serve_schema import openapi

TOY = str(Path(__file__).parents[2] / "examples" / "most_vowel.py") + ":MostVowel"


@pytest.fixture(scope="module")
def model():
    words = ["banana", "coffee", "papaya", "tepee"] * 10
    return package.train(TOY, (words, ["a", "e"] * 20), settings={"training.epochs": 1}, progress=False)


@contextmanager
def served(model, **options):
    server = ModelServer(model, port=0, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(model):
    with served(model, max_body=1000, queue=300) as server:
        yield server


def ask(server, body=b"", path="/predict", method="POST", **headers):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    body = body if isinstance(body, bytes) or hasattr(body, "__next__") else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, json.loads(answer.read())
    finally:
        connection.close()


def test_an_answer_is_what_predict_gives(server, model):
    words = ["banana", "", "coffee"]
    status, headers, content = ask(server, {"inputs": words})
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert content == {"predictions": [json.loads(as_json(one)) for one in model.predict(words)]}


def test_two_hundred_clients_at_once_lose_nothing(server, model):
    words = [f"b{'ae'[i % 2] * (i % 5 + 1)}{i}" for i in range(200)]
    with ThreadPoolExecutor(200) as clients:
        answers = list(clients.map(lambda word: ask(server, {"inputs": [word]}), words))
    assert [status for status, _, _ in answers] == [200] * 200
    assert [content["predictions"][0]["input"] for _, _, content in answers] == words
    assert [content["predictions"][0]["label"] for _, _, content in answers] == [
        one.label for one in model.predict(words)
    ]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "the body must be JSON: Expecting value: line 1 column 1 (char 0)."),
        (b'{"inputs": ["a"', 400, "the body must be JSON: Expecting ',' delimiter: line 1 column 16 (char 15)."),
        (b"\xff\xfe\xff", 400, "the body must be JSON: "),
        (b"[" * 999, 400, "the body must be JSON: "),
        ([], 422, 'the body must be an object such as {"inputs": [...], "options": {...}}: got a list.'),
        ({"input": ["a"]}, 422, "unknown field `input`, did you mean `inputs`?"),
        ({"text": "a"}, 422, "unknown field `text`; known: inputs, options."),
        ({}, 422, "`inputs` must be a list of at least one input: got none."),
        ({"inputs": "a"}, 422, "`inputs` must be a list of at least one input: got a text."),
        ({"inputs": [3]}, 422, "`inputs[0]` must be a text: got a value of type int."),
        (b'{"inputs": ["\\ud800"]}', 422, "`inputs[0]` must be a text: got half a character in '\\ud800'."),
        ({"inputs": ["a"], "options": 3}, 422, "`options` must be an object: got a number."),
        ({"inputs": ["a"], "options": {"top_n": 3}}, 422, "unknown setting `top_n`"),
        ({"inputs": [0] * 301}, 413, "`inputs` must be at most 300: got 301."),
        (b" " * 1001, 413, "the body must have at most 1,000 bytes: got more."),
    ],
)  # fmt: skip
def test_what_is_refused(server, body, status, reason):
    found, _, content = ask(server, body)
    assert found == status
    assert content["error"].startswith(reason)
    assert "\n" not in content["error"]


def test_a_hundred_megabytes(server):
    size = 100_000_000
    refused = 413, {"error": "the body must have at most 1,000 bytes: got more."}
    for body in (bytes(size), (bytes(1 << 20) for _ in range(size >> 20))):  # in pieces where its length is not told
        status, _, content = ask(server, body)
        assert (status, content) == refused
    with socket.create_connection(
        ("127.0.0.1", server.port), timeout=20
    ) as connection:  # curl waits to be told to go on
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
    assert server._held == 0


def test_a_body_that_does_not_come(server, monkeypatch):
    monkeypatch.setattr("heedful.tasks.serve._SLOWEST", 0.1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body must come within 0 s." in answer


def test_who_may_ask_and_how(server):
    assert ask(server, b"{}", Content_Type="text/plain")[0] == 415
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example"):
        status, _, content = ask(server, {"inputs": ["a"]}, Host=host)
        assert (status, content["error"]) == (
            421,
            f"the address must begin with localhost or 127.0.0.1 or [::1]: got {host.partition(':')[0]!r}.",
        )
    assert ask(server, {"inputs": ["a"]}, Host=f"localhost:{server.port}")[0] == 200
    assert ask(server, method="GET")[2] == {"error": "the method must be POST: got GET."}
    assert ask(server, path="/")[:3:2] == (
        404,
        {"error": "there is no such address: known are /predict, /health and /schema."},
    )


def test_health_and_schema(server, model):
    status, _, content = ask(server, path="/health", method="GET")
    assert (status, content["status"], content["task"], content["waiting"]) == (200, "ready", model.task.name, 0)
    assert ask(server, path="/schema", method="GET")[2] == openapi(model.task)


def test_a_fault_is_no_traceback(server, model, monkeypatch, capsys):
    def fail(*_):
        raise KeyError("inside")

    monkeypatch.setattr(type(model.task), "predict", fail)
    status, _, content = ask(server, {"inputs": ["a"]})
    assert (status, content) == (500, {"error": "the server failed; its own output says why."})
    assert capsys.readouterr().err == "heedful: a request failed: KeyError: 'inside'\n"


def test_bodies_together_have_an_end(model):
    with served(model, max_body=1000) as server:
        server._held = 16_000
        status, headers, content = ask(server, {"inputs": ["a"]})
        assert (status, headers["Retry-After"]) == (503, "1")
        assert content == {"error": "too many bodies are read at this time: ask again in 1 s."}
        assert server._held == 16_000


def test_while_it_shuts_down(model, monkeypatch):
    """What was taken is answered; what is new gets 503; then it ends."""
    gate, begun, predict = threading.Event(), threading.Event(), type(model.task).predict

    def slowly(*arguments):
        begun.set()
        assert gate.wait(20)
        return predict(*arguments)

    monkeypatch.setattr(type(model.task), "predict", slowly)
    with served(model, queue=2) as server, ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(ask, server, {"inputs": ["banana"]})]
        assert begun.wait(20)
        answers.append(clients.submit(ask, server, {"inputs": ["coffee", "papaya"]}))
        while not server.queue.waiting:
            threading.Event().wait(0.01)
        status, headers, content = ask(server, {"inputs": ["tepee"]})
        assert (status, content) == (503, {"error": f"2 inputs wait already: ask again in {headers['Retry-After']} s."})
        server.stop()
        status, headers, content = ask(server, {"inputs": ["tepee"]})
        assert (status, headers["Retry-After"], content) == (503, "1", {"error": "the server shuts down."})
        assert ask(server, path="/health", method="GET")[:3:2][0] == 503
        gate.set()
        assert [answer.result(20)[0] for answer in answers] == [200, 200]
        assert answers[1].result()[2]["predictions"][0]["input"] == "coffee"


def test_images_come_as_the_bytes_of_their_files(trained, shades):
    model = package.load(trained)
    files = [shades / "dark" / "3.png", shades / "light" / "1.png"]
    with served(model) as server:
        encoded = [base64.b64encode(file.read_bytes()).decode() for file in files]
        status, _, content = ask(server, {"inputs": encoded})
        assert status == 200
        assert [one["label"] for one in content["predictions"]] == [one.label for one in model.predict(files)]
        assert [one["input"] for one in content["predictions"]] == ["inputs[0]", "inputs[1]"]
        for wrong, reason in (
            (str(files[0]), "`inputs[1]` must be the bytes of a file in Base64: got another text."),
            (3, "`inputs[1]` must be the bytes of a file in Base64: got a number."),
            ("aaaa", "inputs[1]: "),
        ):
            status, _, content = ask(server, {"inputs": [encoded[0], wrong]})
            assert status == 422
            assert content["error"].startswith(reason)


def test_addresses_that_cannot_be_listened_on(model):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HeedfulError, match=f"127.0.0.1:{port}: cannot be listened on: Address already in use."):
            ModelServer(model, port=port)
    for port in (-1, 70_000):
        with pytest.raises(HeedfulError, match=f"`port` must be from 0 to 65,535: got {port}."):
            ModelServer(model, port=port)
    with pytest.raises(HeedfulError, match="`queue` must be at least 1: got 0."):
        ModelServer(model, port=0, queue=0)


def test_at_a_terminal_until_a_signal(heedful, trained, monkeypatch):
    from heedful.tasks import serve as serving

    asked = []

    def ended_by_a_client(server):
        asked.append(ask(server, path="/health", method="GET"))
        os.kill(os.getpid(), signal.SIGTERM)

    def run(server):
        client = threading.Thread(target=ended_by_a_client, args=(server,))
        client.start()
        begin(server)
        client.join()

    begin = serving.ModelServer.run
    monkeypatch.setattr(serving.ModelServer, "run", run)
    status, out, err = heedful("serve", trained, "--port", "0")
    assert (status, err) == (0, "")
    assert out.startswith("serving classify-image at http://127.0.0.1:")
    assert asked[0][0] == 200


def test_a_package_that_is_missing(refused, trained, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert refused("serve", trained) == "serving needs `pip install 'heedful[serve]'`: the package uvicorn is missing."
