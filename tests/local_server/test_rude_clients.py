"""Clients that are slow, lie, pipeline, hang up or speak no HTTP, over raw sockets against real workers."""

import json
import socket
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_server.processes import Server, bodies, statuses, talk

HOST = b"Host: localhost\r\n"
POST = b"POST /recommend HTTP/1.1\r\n" + HOST + b"X-API-Key: shop-key\r\nContent-Type: application/json\r\n"
CLOSE = b"Connection: close\r\n"


def test_chunked_bodies_are_put_together(server: Server) -> None:
    pieces = (b'5\r\n{"a":\r\n', b"3;ext=1\r\n 1}\r\n", b"0\r\n\r\n")
    received = talk(server, POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n", *pieces)
    event = json.loads(bodies(received)[0])["event"]
    assert event["body"] == '{"a": 1}'
    assert event["headers"]["content-length"] == "8" and "transfer-encoding" not in event["headers"]


def test_a_chunked_body_that_never_ends_is_cut_at_the_limit(server: Server) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert statuses(talk(server, POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 8)) == [413]


def test_a_chunk_size_without_end_is_cut(server: Server) -> None:
    received = talk(server, POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * (1 << 20))
    assert statuses(received) == [400]


def test_trailers_without_end_are_cut(server: Server) -> None:
    trailers = b"".join(b"X-%d: y\r\n" % number for number in range(100_000))
    assert statuses(talk(server, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", trailers)) == [400]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\nabc\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"-5\r\nabcde\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabcdef\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\nab"),
        (b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: something\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
        (b"Content-Length: 10\r\n", b"{}"),
        (b"Content-Length: -1\r\n", b"{}"),
        (b"Content-Length: +2\r\n", b"{}"),
        (b"Content-Length: 2, 2\r\n", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 2\r\n", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
        (b"Content-Length: 0x2\r\n", b"{}"),
        (b"Content-Length: \xb2\r\n", b"{}"),
        (b"Content-Length: two\r\n", b"{}"),
        (b"Content-Length:\r\n", b"{}"),
    ],
)
def test_lies_about_length_are_refused(server: Server, headers: bytes, body: bytes) -> None:
    received = talk(server, POST + headers + b"\r\n" + body, half_close=True)
    assert statuses(received) == [400]
    assert json.loads(bodies(received)[0])["error"]["code"]


def test_bytes_beyond_the_announced_length_are_the_next_request(server: Server) -> None:
    received = talk(server, POST + b"Content-Length: 2\r\n\r\n{}GARBAGE /x\r\n\r\n")
    assert statuses(received) == [200, 400]


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTQ/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1 extra\r\n" + HOST + b"\r\n",
        b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET health HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://[::1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_one_clean_400(server: Server, sent: bytes) -> None:
    received = talk(server, sent, half_close=True)
    assert statuses(received) == [400], received
    assert json.loads(bodies(received)[0])["error"]["code"]
    assert b"Traceback" not in received and b"<html" not in received


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 4000, 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"a" * 100_000, 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Expect: nonsense\r\n\r\n", 417),
    ],
)
def test_what_is_too_much_is_refused_with_its_own_status(server: Server, sent: bytes, expected: int) -> None:
    assert statuses(talk(server, sent)) == [expected]


def test_underscored_and_trusted_looking_headers_do_not_get_in(server: Server) -> None:
    spoof = (
        b"X_API_Key: operations-key\r\nSCRIPT_NAME: /recommend\r\nPATH_INFO: /metrics\r\nX-Forwarded-Proto: https\r\n"
    )
    received = talk(server, b"GET /popular HTTP/1.1\r\n" + HOST + CLOSE + spoof + b"X-API-Key: shop-key\r\n\r\n")
    event = json.loads(bodies(received)[0])["event"]
    assert event["rawPath"] == "/popular" and event["headers"]["x-api-key"] == "shop-key"
    assert event["headers"]["x-forwarded-proto"] == "http"


def test_old_clients_are_served(server: Server) -> None:
    for version, host in ((b"1.0", b""), (b"1.0", HOST)):
        received = talk(server, b"GET /health HTTP/" + version + b"\r\n" + host + b"\r\n")
        assert b" 200 OK" in received and b"Transfer-Encoding" not in received
    kept = b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    received = talk(server, kept, b"GET /health HTTP/1.0\r\n\r\n", pause=0.1)
    assert received.count(b" 200 OK") == 2


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    wanted = [f"p{number}" for number in range(20)]
    sent = b"".join(
        f"GET /similar/{name} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: shop-key\r\n\r\n".encode() for name in wanted
    )
    sent += POST + CLOSE + b"Content-Length: 2\r\n\r\n{}"
    events = [json.loads(body)["event"] for body in bodies(talk(server, sent))]
    assert [event["rawPath"].rpartition("/")[2] for event in events] == [*wanted, "recommend"]
    # The same torn into pieces that end anywhere.
    torn = [sent[start : start + 777] for start in range(0, len(sent), 777)]
    assert len(bodies(talk(server, *torn, pause=0.01))) == 21


def test_a_client_that_only_stopped_sending_gets_its_answer(server: Server) -> None:
    received = talk(server, POST + b"Content-Length: 2\r\n\r\n{}", half_close=True)
    assert statuses(received) == [200]


def test_clients_that_hang_up_leave_nothing_behind(server: Server) -> None:
    for sent in (b"", b"GET /hea", POST + b"Content-Length: 50\r\n\r\n{", POST + b"Content-Length: 2\r\n\r\n{}"):
        for _ in range(20):
            with server.connect() as sock:
                sock.sendall(sent)
                # Closing with a reset, as a crashed client does.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert server.request("GET", "/health").status == 200
    time.sleep(1.5)
    for pid in server.workers():
        sockets = [link for link in Path(f"/proc/{pid}/fd").iterdir() if str(link.readlink()).startswith("socket:")]
        assert len(sockets) < 10


def test_a_go_ahead_is_given_to_who_asks_for_it(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(POST + CLOSE + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b"{}")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "start",
    [
        b"GET /health HTTP/1.1\r\nHost: loc",
        POST + b"Content-Length: 50\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n500\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n",
    ],
)
def test_slow_senders_are_told_and_cut_off(server: Server, start: bytes) -> None:
    # The server under test gives a request two seconds; a byte now and then does not buy more.
    answers: list[bytes] = []
    with server.connect(timeout=10) as sock:
        sock.sendall(start)
        sock.settimeout(0.2)
        for _ in range(40):
            try:
                data = sock.recv(65536)
                answers.append(data)
                if not data:
                    break
            except TimeoutError:
                pass
            except ConnectionResetError:
                break
            try:
                sock.sendall(b"a")
            except OSError:
                continue
        else:
            raise AssertionError("a slow sender was not cut off")
    assert statuses(b"".join(answers))[-1] == 408


def test_many_slow_senders_do_not_hold_up_others(server: Server) -> None:
    held = []
    try:
        for number in range(200):
            sock = server.connect()
            sock.sendall((b"GET /health HT", POST + b"Content-Length: 5000\r\n\r\n{", b"")[number % 3])
            held.append(sock)
        for _ in range(20):
            assert server.request("GET", "/health", timeout=1.5).status == 200
    finally:
        for sock in held:
            sock.close()


def test_more_connections_than_fit_are_let_go_and_the_next_is_served(server: Server) -> None:
    held = []
    try:
        for _ in range(900):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", server.port))
            held.append(sock)
        before = server.workers()
        assert server.request("GET", "/health", timeout=20).status == 200
        assert server.workers() == before
    finally:
        for sock in held:
            sock.close()


def test_a_client_that_does_not_close_does_not_hold_up_others(server: Server) -> None:
    held = []
    try:
        for _ in range(30):
            sock = server.connect()
            sock.sendall(b"GET /health HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n")
            held.append(sock)
        assert server.request("GET", "/health", timeout=15).status == 200
        for sock in held:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for sock in held:
            sock.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"GET /health HTTP/1.1\r\n", b"POST /recommend HTTP/1.1\r\n", HOST, b"\r\n", b"Content-Length: 5\r\n",
                 b"Transfer-Encoding: chunked\r\n", b"X-API-Key: shop-key\r\n", b"5\r\n", b"0\r\n\r\n", b"{}"]
            ),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_nothing_sent_gives_a_5xx_or_a_trace(server: Server, pieces: list[bytes]) -> None:
    received = talk(server, b"".join(pieces), half_close=True)
    assert all(status < 500 for status in statuses(received)), received
    assert b"Traceback" not in received
