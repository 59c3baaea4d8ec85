"""Server processes that a command starts, waits for, watches and stops."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lambda_api.errors import RecsysError

POLL_S: Final = 0.2
TAIL_LINES: Final = 15


class ServerFailed(RecsysError):
    """A server ended, or did not answer; the message holds the end of its log."""


class PortInUse(RecsysError):
    """The port is taken; the message names the option that chooses another."""


@dataclass
class ServerProcess:
    """A server as a child process. It has its own process group, so that Ctrl-C reaches it only through `stop`.

    Attributes:
        name: as messages call it.
        log: file with all its output.
        ready_url: answers 200 once it is up.
    """

    name: str
    log: Path
    ready_url: str
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, arguments: Sequence[str], log: Path, ready_url: str) -> "ServerProcess":
        """Start ``python <arguments>``."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
        return cls(name, log, ready_url, process)

    def wait_until_ready(self, seconds: float) -> None:
        """Raises `ServerFailed` if it ends or is not ready in time."""
        end = time.monotonic() + seconds
        while not self._answers():
            self.check()
            if time.monotonic() > end:
                raise ServerFailed(f"{self.name} did not answer within {seconds:.0f} s; {self._end_of_log()}")
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises `ServerFailed` if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise ServerFailed(f"{self.name} ended with code {code}; {self._end_of_log()}")

    def stop(self, seconds: float) -> None:
        """Ask it to finish, wait up to ``seconds``, and kill what is left of its process group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        # The group exists as long as it has members, and its number is not used again before.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _answers(self) -> bool:
        try:
            # Without the proxy of the environment, which does not know this machine's servers.
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(self.ready_url, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return f"the end of {self.log}:\n" + "\n".join(lines)


def check_port_free(port: int, option: str) -> None:
    """Raise `PortInUse` unless ``port`` on 127.0.0.1 can be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortInUse(
                f"port {port} is in use or not allowed ({error.strerror}): end what holds it, or choose another with "
                f"{option}"
            ) from error
