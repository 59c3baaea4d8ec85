"""Clients that are slow, send malformed HTTP, pipeline or hang up, over raw sockets against real workers."""

import json
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_server.processes import Server, bodies, statuses, talk
from tests.patience import wait_until

HOST = b"Host: localhost\r\n"
POST = b"POST /recommend HTTP/1.1\r\n" + HOST + b"X-API-Key: shop-key\r\nContent-Type: application/json\r\n"
CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def test_chunked_bodies_are_put_together(server: Server) -> None:
    pieces = (b'5\r\n{"a":\r\n', b"3;ext=1\r\n 1}\r\n", b"0\r\n\r\n")
    received = talk(server, POST + CLOSE + CHUNKED + b"\r\n", *pieces)
    event = json.loads(bodies(received)[0])["event"]
    assert event["body"] == '{"a": 1}'
    assert event["headers"]["content-length"] == "8" and "transfer-encoding" not in event["headers"]


def test_a_chunked_body_that_never_ends_is_cut_at_the_limit(server: Server) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    assert statuses(talk(server, POST + CHUNKED + b"\r\n", *[chunk] * 8)) == [413]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (CHUNKED, b"zz\r\nabc\r\n0\r\n\r\n"),
        (CHUNKED, b"-5\r\nabcde\r\n0\r\n\r\n"),
        (CHUNKED, b"3\r\nabcdef\r\n0\r\n\r\n"),
        (CHUNKED, b"\r\n\r\n"),
        (CHUNKED, b"5\r\nab"),
        (CHUNKED + b"Content-Length: 3\r\n", b"0\r\n\r\n"),
        (b"Transfer-Encoding: something\r\n", b"0\r\n\r\n"),
        (b"Content-Length: 10\r\n", b"{}"),
        (b"Content-Length: -1\r\n", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
        (b"Content-Length: 0x2\r\n", b"{}"),
        (b"Content-Length: two\r\n", b"{}"),
        (b"Content-Length:\r\n", b"{}"),
    ],
)
def test_bodies_framed_wrongly_are_refused(server: Server, headers: bytes, body: bytes) -> None:
    received = talk(server, POST + headers + b"\r\n" + body, half_close=True)
    assert statuses(received)[:1] in ([400], [501]), received


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTQ/1.1\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1 extra\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 4000 + b"\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Expect: nonsense\r\n\r\n",
    ],
)
def test_malformed_and_oversized_requests_get_one_4xx(server: Server, sent: bytes) -> None:
    received = talk(server, sent, half_close=True)
    assert (len(statuses(received)) == 1 and 400 <= statuses(received)[0] < 500) or statuses(received) == [505], (
        received
    )
    assert b"Traceback" not in received


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


def test_a_client_that_only_stopped_sending_gets_its_answer(server: Server) -> None:
    received = talk(server, POST + b"Content-Length: 2\r\n\r\n{}", half_close=True)
    assert statuses(received) == [200]


def test_clients_that_hang_up_leave_nothing_behind(server: Server) -> None:
    for sent in (b"GET /hea", POST + b"Content-Length: 50\r\n\r\n{", POST + b"Content-Length: 2\r\n\r\n{}"):
        for _ in range(20):
            with server.connect() as sock:
                sock.sendall(sent)
                # Closing with a reset, as a crashed client does.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert server.request("GET", "/health").status == 200
    wait_until(lambda: max(map(open_sockets, server.workers())) < 10, "the sockets were closed")


def open_sockets(pid: int) -> int:
    """Sockets of a process."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found += str(link.readlink()).startswith("socket:")
    return found


def test_a_go_ahead_is_given_to_who_asks_for_it(server: Server) -> None:
    with server.connect() as sock:
        sock.sendall(POST + CLOSE + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        sock.sendall(b"{}")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"GET /health HTTP/1.1\r\nHost: loc", []),
        (POST + b"Content-Length: 50\r\n\r\n", [408]),
        (POST + CHUNKED + b"\r\n500\r\n", [408]),
    ],
)
def test_a_client_that_stops_in_the_middle_is_cut_off(server: Server, start: bytes, expected: list[int]) -> None:
    # The server under test waits two seconds for the next bytes.
    assert statuses(talk(server, start)) == expected


def test_stalled_clients_below_the_number_of_threads_do_not_hold_up_others(server: Server) -> None:
    held = []
    try:
        for number in range(7):  # each worker has eight threads
            sock = server.connect()
            sock.sendall((b"GET /health HT", POST + b"Content-Length: 5000\r\n\r\n{", b"")[number % 3])
            held.append(sock)
        for _ in range(20):
            assert server.request("GET", "/health", timeout=15).status == 200
    finally:
        for sock in held:
            sock.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"GET /health HTTP/1.1\r\n", b"POST /recommend HTTP/1.1\r\n", HOST, b"\r\n", b"Content-Length: 5\r\n",
                 CHUNKED, b"X-API-Key: shop-key\r\n", b"5\r\n", b"0\r\n\r\n", b"{}"]
            ),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_nothing_sent_gives_a_server_error_or_a_trace(server: Server, pieces: list[bytes]) -> None:
    received = talk(server, b"".join(pieces), half_close=True)
    assert not {500, 502, 503} & set(statuses(received)), received
    assert b"Traceback" not in received
