"""The process that reads sockets: gunicorn's threaded worker, made to bear slow, rude and pipelining clients.

Put here what concerns connections. Keep what is answered (``gateway``) out.

What it changes, and why. Gunicorn's own worker gives a connection a thread before its request has arrived, so a few
slow senders hold all threads; here the main loop collects a request and a thread gets it whole. Reads and writes have
limits in time and bytes. A request that was sent behind another without waiting is answered too. On SIGTERM idle
connections are closed at once instead of holding up the stop, and SIGINT, which a terminal sends to every process, is
left to the master.
"""

import contextlib
import errno
import json
import re
import signal
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

from gunicorn import util
from gunicorn.http import errors
from gunicorn.http.unreader import Unreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from lambda_api.local_server.events import status_line
from lambda_api.local_server.gateway import FORCE_CLOSE

HEAD_LIMIT: Final = 16 * 1024
"""Bytes of request line and headers; HTTP APIs allow 10,240."""

FRAMING_FACTOR: Final = 8
"""Bytes on the wire per byte of a chunked body at most: a chunk of one byte takes six."""

TICK_S: Final = 0.5
"""How often connections are checked for having waited too long."""

LINGER_S: Final = 0.5
"""How long to read on after the last answer, so that a client still sending gets to read it (RFC 9112, 9.6)."""

_OUT_OF_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_UNKNOWABLE: Final = re.compile(rb"\r\n(expect|transfer-encoding):", re.IGNORECASE)

_REFUSALS: Final[tuple[tuple[type[Exception], tuple[int, str, str]], ...]] = (
    (errors.LimitRequestHeaders, (431, "headers_too_large", "the headers are too many or too long")),
    (errors.LimitRequestLine, (414, "target_too_long", "the request line is too long")),
    (errors.ExpectationFailed, (417, "expectation_failed", "only Expect: 100-continue is understood")),
    (errors.InvalidHTTPVersion, (400, "bad_request", "the HTTP version is not one of 1.0 and 1.1")),
    (errors.ParseException, (400, "bad_request", "this is no HTTP request")),
)
_DEFECT: Final = (500, "internal_error", "something failed here; the log has the details")


class RequestReader(Unreader):
    """Where the parser reads a request from: what has been collected, then the socket, within limits.

    Reading past ``deadline`` (of ``time.monotonic``) raises ``TimeoutError``, past ``budget`` bytes ``OSError``.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        self.deadline = 0.0
        self.budget = 0

    def chunk(self) -> bytes:
        """Bytes from the socket; none at its end."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the request did not arrive in time")
        if self.budget <= 0:
            raise OSError(errno.EMSGSIZE, "more bytes on the wire than a body of the allowed length needs")
        self.sock.settimeout(remaining)
        try:
            data: bytes = self.sock.recv(min(self.budget, 65536))
        finally:
            self.sock.settimeout(None)
        self.budget -= len(data)
        return data

    def buffered(self) -> bytes:
        """What was read and not used yet; it stays where it is."""
        return self.buf.getvalue()


class Connection(TConn):
    """A client's connection. ``received`` is what has come of the next request while no thread works on it."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.received = b""
        self.ended = False
        self.closed = False
        self.data_ready = True
        self._needed: int | None = None

    def init(self) -> None:
        """Make the parser, reading through a `RequestReader`."""
        if self.initialized:
            return
        super().init()
        self.parser.unreader = RequestReader(self.sock)

    def take(self, data: bytes) -> None:
        """Keep bytes of the next request."""
        self.received += data

    def is_whole(self, body_limit: int) -> bool:
        """Whether a thread should look at what was received: a whole request, or one that will be refused.

        Only a guess at framing, to know how long to wait; the parser decides. Chunked bodies and requests that wait for
        a go-ahead are read by the thread.
        """
        if self._needed is None:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return len(self.received) > HEAD_LIMIT or self.ended
            head = self.received[: end + 2]
            length = _CONTENT_LENGTH.search(head)
            body = int(length.group(1)) if length and not _UNKNOWABLE.search(head) else 0
            self._needed = end + 4 + (0 if body > body_limit else body)
        return self.ended or len(self.received) >= self._needed

    def head_overflow(self) -> type[errors.ParseException] | None:
        """What is too long, where the head has not ended within its limit; the parser would wait for its end."""
        if self._needed is not None or len(self.received) <= HEAD_LIMIT:
            return None
        return errors.LimitRequestHeaders if b"\r\n" in self.received else errors.LimitRequestLine

    def hand_over(self, deadline: float, budget: int) -> None:
        """Give what was received to the parser, for a thread to go on with."""
        reader = self.parser.unreader
        reader.deadline, reader.budget = deadline, budget
        if self.received:
            reader.unread(reader.take_buffered() + self.received)
        self.received, self._needed = b"", None

    def take_back(self) -> None:
        """Take what the parser did not use: the beginning of a request sent behind the last one."""
        self.received, self._needed = self.parser.unreader.take_buffered(), None

    def close(self, graceful: bool = False) -> None:
        """Close the socket, once. ``graceful``: after the client had a moment to read what was sent."""
        if self.closed:
            return
        self.closed = True
        try:
            self.sock.setblocking(True)
            if graceful:
                util.close_graceful(self.sock, timeout=LINGER_S)
        except OSError:
            pass
        finally:
            util.close(self.sock)


class GatewayWorker(ThreadWorker):
    """See the module's text. Class attributes are set by ``server`` before workers are forked."""

    body_limit: int = 64 * 1024
    request_timeout_s: float = 10.0
    write_timeout_s: float = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: dict[int, Connection] = {}
        self._current = threading.local()

    # -- the main loop's side ------------------------------------------------------------------------------------------

    def init_signals(self) -> None:
        """As gunicorn, but Ctrl-C is the master's to act on."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def accept(self, listener: Any) -> None:
        """Take a connection and wait for its first request."""
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in _OUT_OF_ROOM:
                # The client waits in the listener's queue; connections that end make room.
                time.sleep(0.05)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        seconds = struct.pack("ll", int(self.write_timeout_s), 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        self._wait(Connection(self.cfg, sock, client, listener.getsockname()), self.request_timeout_s)

    def set_accept_enabled(self, enabled: bool) -> None:
        """As gunicorn; when it is the end, take what already waits in the queue and let idle connections go."""
        stopping = not enabled and not self.alive and self._accepting
        if stopping:
            for listener in self.sockets:
                before = -1
                while before != self.nr_conns and self.nr_conns < self.worker_connections:
                    before = self.nr_conns
                    self.accept(listener)
        super().set_accept_enabled(enabled)
        if stopping:
            super().wait_for_and_dispatch_events(0)
            for conn in [conn for conn in self._waiting.values() if not conn.received]:
                self._drop(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """As gunicorn, waking up often enough to see who is late."""
        super().wait_for_and_dispatch_events(min(timeout, TICK_S))

    def murder_keepalived(self) -> None:
        """Let go of connections that waited too long; who had begun a request is told so."""
        now = time.monotonic()
        for conn in [conn for conn in self._waiting.values() if conn.timeout <= now]:
            if conn.received:
                refuse(conn.sock, 408, "request_timeout", "the request did not arrive in time")
                self._log_refusal(conn.client, 408)
            self._drop(conn)

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """A thread is done with ``conn``: wait for its next request, or forget it."""
        keep = not fs.cancelled() and fs.exception() is None and fs.result() and not conn.closed
        if keep and (self.alive or conn.received):
            conn.sock.setblocking(False)
            self._wait(conn, self.request_timeout_s if conn.received else self.cfg.keepalive)
        else:
            self.nr_conns -= 1
            conn.close()

    def _wait(self, conn: Connection, seconds: float) -> None:
        conn.timeout = time.monotonic() + seconds
        self._waiting[conn.sock.fileno()] = conn
        self.poller.register(conn.sock, 1, partial(self._collect, conn))  # 1: selectors.EVENT_READ

    def _collect(self, conn: Connection, sock: socket.socket) -> None:
        try:
            data = sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(conn)
            return
        if not data and not conn.received:
            self._drop(conn)
            return
        if not conn.received:
            conn.timeout = time.monotonic() + self.request_timeout_s
        conn.take(data)
        conn.ended = not data
        if conn.is_whole(self.body_limit):
            self._release(conn)
            self.enqueue_req(conn)

    def _release(self, conn: Connection) -> None:
        del self._waiting[conn.sock.fileno()]
        self.poller.unregister(conn.sock)

    def _drop(self, conn: Connection) -> None:
        self._release(conn)
        self.nr_conns -= 1
        conn.close()

    # -- a thread's side -----------------------------------------------------------------------------------------------

    def handle(self, conn: Connection) -> bool:
        """Answer what has arrived on ``conn``; whether to keep it open."""
        keep = False
        try:
            while True:
                conn.init()
                if overflow := conn.head_overflow():
                    self.handle_error(None, conn.sock, conn.client, overflow(""))
                    return False
                budget = self.body_limit * FRAMING_FACTOR + HEAD_LIMIT
                conn.hand_over(time.monotonic() + self.request_timeout_s, budget)
                keep = bool(super().handle(conn))
                if not keep:
                    return False
                conn.take_back()
                if not conn.received or not conn.is_whole(self.body_limit):
                    return True
        finally:
            if not keep:
                # Here and not in the main loop: lingering takes time.
                conn.close(graceful=True)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """As gunicorn, with the request at hand for whoever must end the connection."""
        self._current.request = req
        return super().handle_request(req, conn)

    def load_wsgi(self) -> None:
        """Load the application, and let it end connections."""
        super().load_wsgi()
        application = self.wsgi

        def with_close(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ[FORCE_CLOSE] = self._current.request.force_close
            return application(environ, start_response)

        self.wsgi: Callable[..., Iterable[bytes]] = with_close

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what could not be parsed, in the API's own form and without echoing it."""
        status, code, message = next((said for kind, said in _REFUSALS if isinstance(exc, kind)), _DEFECT)
        if status == _DEFECT[0]:
            self.log.exception("request failed outside of the application")
        refuse(client, status, code, message)
        self._log_refusal(addr, status)

    def _log_refusal(self, client: Any, status: int) -> None:
        self.log.refusal(client[0] if isinstance(client, tuple) else str(client), status)


def refuse(sock: socket.socket, status: int, code: str, message: str) -> None:
    """Send an error that ends the connection, without waiting for a client that does not read."""
    body = json.dumps({"error": {"code": code, "message": message}, "request_id": str(uuid.uuid4())}).encode()
    head = (
        f"HTTP/1.1 {status_line(status)}\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"x-content-type-options: nosniff\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        sock.send(head.encode("ascii") + body, socket.MSG_DONTWAIT)
