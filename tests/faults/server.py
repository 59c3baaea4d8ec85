"""A real server process over a home of its own, the load on it, and what must hold whatever breaks."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lambda_api.state.addressing import digest
from lambda_api.state.open_table import open_table
from lambda_api.state.table import Key
from tests.json_lines import read_json_lines
from tests.load_driver import FEEDBACK, RECOMMEND, Client, Reply, Traffic, drive, wait_until_healthy
from tests.patience import PATIENCE_S, wait_until
from tests.serving_home import ServedHome

ROOT = Path(__file__).resolve().parents[2]
THREADS = 6
PAUSE_S = 0.02

TABLE: list[tuple[str, str, str]] = []
"""Fault, what shoppers saw, what became of feedback: printed at the end of the run."""


@dataclass
class Running:
    """A server and its home."""

    home: ServedHome
    port: int
    process: subprocess.Popen[bytes]
    count: int

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def wait_for_workers(self) -> None:
        """Until as many live as were asked for: the first one answers before the last one is forked."""
        wait_until(lambda: len(self.workers()) == self.count, f"there were {self.count} workers")

    def wait_for(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask until the answer is as it should be, several times in a row: every worker must have come round."""
        until, good = time.monotonic() + PATIENCE_S, 0
        answer: dict[str, Any] = {}
        while time.monotonic() < until:
            fresh = Client(self.port, self.home.key)  # another connection may reach another worker
            try:
                status, answer = fresh.send("POST", RECOMMEND, {"user_id": self.home.shoppers[0]})
            except OSError:  # a worker that was killed had taken it
                status = 0
            fresh.close()
            good = good + 1 if status == 200 and what(answer) else 0
            if good >= 8:
                return answer
            time.sleep(0.05)
        raise AssertionError(f"not so within {PATIENCE_S:.0f} s; the last answer was {answer}")


@contextmanager
def running(home: ServedHome, workers: int = 2) -> Iterator[Running]:
    """The local server over ``home``, with the patience of `tests.faults.quick`."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    command = [sys.executable, "-m", "lambda_api.local_server", "--port", str(port), "--workers", str(workers)]
    command += ["--no-static", "--lifecycle", "tests.faults.quick:serving"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    environment = {**kept, "RECSYS_HOME": str(home.settings.home), "OPENBLAS_NUM_THREADS": "1"}
    environment["RECSYS_PREDICTION_CACHE_S"] = "0"  # cached lists would hide the faults
    # Its log goes to a pipe that is read, not to a file: a limit on files must hit its data alone.
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    tail: list[bytes] = []
    reader = threading.Thread(target=_keep_tail, args=(process, tail), daemon=True)
    reader.start()
    try:
        wait_until_healthy(port, process)
        server = Running(home, port, process, workers)
        server.wait_for_workers()
        server.wait_for(lambda answer: answer["model_version"] == home.target.version)
        yield server
    except BaseException:
        sys.stderr.write(b"".join(tail[-60:]).decode(errors="replace"))
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _keep_tail(process: subprocess.Popen[bytes], tail: list[bytes]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        tail.append(line)
        del tail[:-200]


class Load:
    """Traffic in the background: ``with Load(server) as load: break_something()``; then `traffic`."""

    def __init__(self, server: Running, seconds: float = 60.0) -> None:
        self._server = server
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.traffic = Traffic()

    def __enter__(self) -> "Load":
        self._thread.start()
        time.sleep(1.0)
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        home = self._server.home
        self.traffic = drive(
            self._server.port,
            home.key,
            home.shoppers,
            home.product_ids[:500],
            self._seconds,
            THREADS,
            PAUSE_S,
            self._stop,
        )


def judge(fault: str, server: Running, traffic: Traffic, broken_at_most: int = 0) -> None:
    """No request but those in flight on a killed worker went wrong, and no accepted event is missing."""
    statuses = traffic.statuses()
    broken = statuses.pop(0, 0)
    wrong = {status: count for status, count in statuses.items() if status not in (200, 202)}
    lost = missing_events(server.home, traffic.accepted)
    lists = [reply for reply in traffic.replies if reply.route == RECOMMEND and reply.status == 200]
    by_model = [reply for reply in lists if reply.model_version != "baseline"]
    causes = ", ".join(sorted({reply.note for reply in lists if reply.note})) or "none"
    TABLE.append(
        (
            fault,
            f"{len(traffic.replies)} requests, {sum(wrong.values())} wrong, {broken} broken off; "
            f"{len(by_model)} of {len(lists)} lists by a model; causes: {causes}",
            f"{len(traffic.accepted)} accepted, {len(lost)} lost, {len(traffic.to_retry)} to be sent again",
        )
    )
    assert len(lists) > 20 and any(reply.route == FEEDBACK for reply in traffic.replies), "there was no load"
    assert not wrong, wrong
    assert broken <= broken_at_most, [reply.note for reply in traffic.replies if reply.status == 0]
    assert not lost, f"{len(lost)} of {len(traffic.accepted)} accepted events are missing"


def missing_events(home: ServedHome, event_ids: set[str]) -> set[str]:
    """Those that the history store or the event stream does not have."""
    table = open_table(home.settings, "history")
    streamed = {str(record["event_id"]) for record in read_json_lines(home.settings.home / "events", "feedback")}
    stored = {name for name in event_ids if table.get(Key(f"event#{digest(name)}", "marker")) is not None}
    return event_ids - (stored & streamed)


def during(traffic: Traffic, start: float, stop: float) -> list[Reply]:
    """Lists asked for between two moments of ``time.monotonic``."""
    return [r for r in traffic.replies if r.route == RECOMMEND and r.status == 200 and start <= r.at < stop]


def share(replies: list[Reply], what: Callable[[Reply], bool]) -> float:
    """The share of ``replies`` of which ``what`` holds."""
    assert replies, "nothing was asked in that time"
    return sum(what(reply) for reply in replies) / len(replies)
