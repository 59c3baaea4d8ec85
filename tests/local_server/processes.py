"""Real server processes for tests, and raw sockets to be rude to them with."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
FAKES = (
    "--handler", "tests.local_server.fakes:handler",
    "--authorizer", "tests.local_server.fakes:authorizer",
    "--lifecycle", "tests.local_server.fakes:lifecycle",
)  # fmt: skip
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")


def free_port() -> int:
    """A port nobody holds now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE_S,
    ) -> Answer:
        """One request on a connection of its own, with a key that opens everything."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = {"X-API-Key": "operations-key", **(headers or {})}
        content = json.dumps(body).encode() if isinstance(body, dict | list) else body
        if isinstance(body, dict | list):
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, content, {name: value for name, value in sent.items() if value})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def connect(self, timeout: float = PATIENCE_S) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self, sig: int = signal.SIGTERM, timeout: float = PATIENCE_S) -> int:
        """Signal, wait, and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout)

    def access_lines(self) -> list[dict[str, Any]]:
        """Parsed access log."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, lines) if line.get("kind") == "access"]


@contextmanager
def running(
    folder: Path,
    *arguments: str,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
    fakes: bool = True,
) -> Iterator[Server]:
    """A server on a free port, answering, with all its workers; stopped at the end."""
    port = free_port()
    log = folder / f"server-{port}.log"
    command = [sys.executable, "-m", "lambda_api.local_server", "--port", str(port), "--workers", str(workers)]
    command += FAKES if fakes else ()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env=kept | {"RECSYS_HOME": str(folder / "home"), **(environment or {})},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, log)
    try:
        wait_until_up(server, workers)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def wait_until_up(server: Server, workers: int) -> None:
    """Until a request is answered and every worker is there (the first answers before the last is forked)."""

    def up() -> bool:
        with suppress(OSError):  # nobody listens yet
            return server.request("GET", "/health").status == 200 and len(server.workers()) == workers
        return False

    wait_until(up, lambda: f"the server was up:\n{server.log.read_text()}", server.process)


def talk(
    server: Server, *pieces: bytes, pause: float = 0.0, half_close: bool = False, timeout: float = PATIENCE_S
) -> bytes:
    """Send bytes as they are, and give everything that comes back until the server closes."""
    received = b""
    with server.connect(timeout) as sock:
        with suppress(OSError):  # the server has refused and closed before it was sent everything
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(pause)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):  # an end as well: what was sent before it counts
            while data := sock.recv(65536):
                received += data
    return received


def statuses(received: bytes) -> list[int]:
    """Status codes of the answers in what came back."""
    return [int(status) for status in _ANSWER.findall(received)]


def bodies(received: bytes) -> list[bytes]:
    """Bodies of the answers in what came back."""
    return [part.partition(b"\r\n\r\n")[2] for part in _ANSWER.split(received)[2::2]]
