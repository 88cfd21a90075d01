import http.client
import json
import socket
import threading
import time
import urllib.parse

import numpy as np
import pytest
import torch

import heedful
from heedful.inspection.recording import AttentionCall, Recording
from heedful.ops import AttentionMatrix, Causal
from heedful.report import TableSection, attention_section, server
from heedful.report.cells import cell_starts
from heedful.report.live import LivePage

N = 90


def watched(heads=3):
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, heads, N, 8).unbind()
    return Recording([AttentionCall("layer", "self", AttentionMatrix(query, key, pattern=Causal()), "eager")])


@pytest.fixture(scope="module")
def live():
    seen = watched()
    table = TableSection("A table", "", ["a"], [[1]])
    with LivePage(title="T", sections=[table, attention_section(seen, title="A")], recordings=[None, seen]) as page:
        yield page, seen[0].matrix


def ask(page, path, headers=(), method="GET", token=None):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    start = urllib.parse.urlsplit(page.address).path if token is None else f"/{token}/"
    connection.request(method, start + path, headers=dict(headers))
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def window(**change):
    asked = dict.fromkeys(("section", "rows", "columns"), 1) | dict.fromkeys(
        ("layer", "heads", "top", "left", "effort", "pairs"), 0
    )
    asked |= {"bottom": N, "right": N} | change
    return "window?" + urllib.parse.urlencode(asked)


def test_a_window_is_that_of_the_matrix(live):
    page, A = live
    answer, body = ask(page, window(heads="0,2", top=60, bottom=62, left=10, right=50, rows=9, columns=40, pairs=1))
    facts = json.loads(answer.headers["Heedful-Window"])
    assert facts == {"rows": [60, 61, 62], "columns": list(range(10, 51)), "finer": ""}
    expected = A.dense()[0, [0, 2], 60:62, 10:50].mean(0).numpy()
    np.testing.assert_allclose(np.frombuffer(body, "<f4").reshape(2, 40), expected, atol=1e-6)


def test_a_slow_machine_answers_with_the_map_first_and_with_the_pairs_when_asked_again(live, monkeypatch):
    page, A = live
    monkeypatch.setattr(page._windows[1, 0], "pace", 1000.0)
    monkeypatch.setattr(page._windows[1, 0], "_fine", page._windows[1, 0]._grid([cell_starts(N, 9)] * 2))
    first, _ = ask(page, window(rows=80, columns=80))
    assert json.loads(first.headers["Heedful-Window"])["finer"] == "now"
    second, body = ask(page, window(rows=90, columns=90, effort=1))
    assert json.loads(second.headers["Heedful-Window"])["finer"] == ""
    np.testing.assert_allclose(np.frombuffer(body, "<f4").reshape(N, N), A.dense()[0, 0].numpy(), atol=1e-6)


def test_the_page_may_ask_its_own_origin_and_a_file_nobody(live):
    page, _ = live
    answer, body = ask(page, "")
    assert answer.status == 200
    assert b"connect-src &#x27;self&#x27;" in body or b"connect-src 'self'" in body
    assert b'"live":{"section":1,"layers":1}' in body
    file = heedful.report.render_report(title="T", sections=[attention_section(watched(), title="A")])
    assert "connect-src" not in file.split("</head>")[0].split("<style>")[0]
    assert '"live":{' not in file


def test_every_answer_forbids_to_keep_frame_or_read_it_elsewhere(live):
    for path in ("", window(), "nothing", window(heads="x")):
        answer, _ = ask(live[0], path)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Python" not in answer.headers["Server"]


@pytest.mark.parametrize("token", ["", "x", "0" * 32, "..", "%00", "\u00e9".encode().decode("latin-1")])
def test_without_the_token_there_is_nothing(live, token):
    answer, body = ask(live[0], window(), token=urllib.parse.quote(token, safe="/%."))
    assert (answer.status, body) == (404, b"there is nothing here")


def test_tokens_are_long_and_new_each_time(live):
    seen = watched()
    with LivePage(title="T", sections=[attention_section(seen, title="A")], recordings=[seen]) as other:
        tokens = {page.address.split("/")[3] for page in (live[0], other)}
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_foreign_requests_are_refused_even_with_the_token(live, headers):
    for path in ("", window()):
        answer, body = ask(live[0], path, headers)
        assert answer.status == 403
        assert len(body) < 100


def test_own_requests_are_answered(live):
    page, _ = live
    host = f"localhost:{page.port}"
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}, {"Sec-Fetch-Site": "same-origin"}):
        assert ask(page, window(), headers)[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS", "DELETE"])
def test_only_get_is_answered(live, method):
    assert ask(live[0], window(), method=method)[0].status == 405


def test_a_body_is_refused(live):
    assert ask(live[0], window(), {"Content-Length": "5"})[0].status == 400
    assert ask(live[0], window(), {"Transfer-Encoding": "chunked"})[0].status == 400


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": "3"}, "`heads` must be different heads from 0 to 2"),
        ({"heads": "1,1"}, "`heads` must be different heads from 0 to 2"),
        ({"heads": ""}, "`heads` must be numbers"),
        ({"section": 0}, "there is no such layer to compute"),
        ({"layer": 1}, "there is no such layer to compute"),
        ({"bottom": N + 1}, "a window must lie within 90 x 90 pairs"),
        ({"left": N}, "a window must lie within 90 x 90 pairs"),
        ({"top": -1}, "`top` must be a whole number"),
        ({"top": "1e1"}, "`top` must be a whole number"),
        ({"rows": 0}, "`rows` times `columns` must be from 1"),
        ({"more": 1}, "a window must be asked for by"),
    ],
)
def test_what_does_not_exist_is_refused_in_words(live, change, words):
    answer, body = ask(live[0], window(**change))
    assert answer.status == 400
    assert body.decode().startswith(words)
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_nobody_but_this_machine_can_connect(live):
    assert live[0]._server.server_address[0] == "127.0.0.1"


def test_what_fails_is_told_in_words_and_never_as_a_traceback(live, monkeypatch, capfd):
    page, _ = live

    def broken(*args, **options):
        raise RuntimeError("no room")

    monkeypatch.setattr(page._windows[1, 0], "window", broken)
    answer, body = ask(page, window())
    assert (answer.status, body) == (500, b"it could not be computed: RuntimeError: no room")
    with socket.create_connection(("127.0.0.1", page.port)) as rude:
        rude.sendall(b"\x00\xff nonsense\r\n\r\n")
        assert b"Traceback" not in rude.recv(1000)
    assert capfd.readouterr().err == ""


def test_too_many_questions_are_refused_and_those_that_wait_are_answered(live, monkeypatch):
    page, _ = live
    window_of, free, states = page._windows[1, 0].window, threading.Event(), []
    monkeypatch.setattr(page._windows[1, 0], "window", lambda **asked: free.wait(10) and window_of(**asked))
    threads = [threading.Thread(target=lambda: states.append(ask(page, window())[0].status)) for _ in range(22)]
    for thread in threads:
        thread.start()
    while len(states) < 22 - 17 and any(thread.is_alive() for thread in threads):
        time.sleep(0.01)
    free.set()
    for thread in threads:
        thread.join()
    assert sorted(states) == [200] * 17 + [503] * 5


def test_a_question_whose_asker_has_gone_is_given_up(live, monkeypatch):
    page, _ = live
    gone = threading.Event()

    def slow(*, alive, **asked):
        while alive():
            time.sleep(0.01)
        gone.set()
        raise heedful.report.windows.Gone

    monkeypatch.setattr(page._windows[1, 0], "window", slow)
    with socket.create_connection(("127.0.0.1", page.port)) as browser:
        path = urllib.parse.urlsplit(page.address).path + window()
        browser.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        assert not gone.wait(0.2)
    assert gone.wait(5)


def test_slow_connections_lock_nobody_out(live, monkeypatch):
    page, _ = live
    monkeypatch.setattr(server, "_DEADLINE", 0.5)
    slow = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(40)]
    end = time.monotonic() + 5
    open_ones = slow
    while open_ones and time.monotonic() < end:  # a byte now and then, so that no connection is ever silent
        for one in list(open_ones):
            try:
                one.sendall(b"G")
                one.settimeout(0.001)
                if one.recv(1) == b"":
                    open_ones = [other for other in open_ones if other is not one]
            except TimeoutError:
                pass
            except OSError:
                open_ones = [other for other in open_ones if other is not one]
    assert open_ones == []
    assert ask(page, "")[0].status == 200
    for one in slow:
        one.close()


def test_after_closing_nothing_answers_and_no_thread_is_left():
    seen = watched()
    page = LivePage(title="T", sections=[attention_section(seen, title="A")], recordings=[seen])
    waiting = threading.Thread(target=page.serve)
    waiting.start()
    assert ask(page, "")[0].status == 200
    page.close()
    page.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert not page._worker._thread.is_alive()
    with pytest.raises(ConnectionError, match="refused"):
        socket.create_connection(("127.0.0.1", page.port))


def test_sections_must_be_of_what_was_seen():
    seen, section = watched(), attention_section(watched(), title="A")
    with pytest.raises(
        ValueError, match="`recordings` and `samples` must have one item for each of 1 sections: got 2 and 1."
    ):
        LivePage(title="T", sections=[section], recordings=[seen, seen])
    with pytest.raises(
        ValueError,
        match="layer 0 of `sections.0.` must be that of call 0 of `recordings.0.`, .1, 4, 90, 90.: got .3, 90",
    ):
        LivePage(title="T", sections=[section], recordings=[watched(4)])
    with pytest.raises(ValueError, match="`samples.0.` must be from 0 to 0: got 1."):
        LivePage(title="T", sections=[section], recordings=[seen], samples=[1])
    with pytest.raises(ValueError, match="`sections.0.` must be an AttentionSection with a layer for each call"):
        LivePage(title="T", sections=[TableSection("A", "", ["a"], [[1]])], recordings=[seen])
