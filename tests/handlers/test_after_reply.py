"""Work after the reply: in the background without loss at the stop, and on Lambda between response and freeze."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lambda_api.handlers.after_reply import Background, Immediate, LambdaExtension, Writer
from lambda_api.serving.service_answer import AfterWork
from lambda_api.state.exposures import Exposure
from lambda_api.state.routing_record import RouteTarget
from tests.patience import PATIENCE_S, wait_until

TARGET = RouteTarget("v2", "/models/v2", "c2")


def work(number: int, *, shadow: bool = False) -> AfterWork:
    exposure = Exposure(f"r{number}", "u", 0, "e", "champion", 1.0, "v1", "ranked", None, (), {}, 1.0)
    return AfterWork(exposure, TARGET, {"k": number}) if shadow else AfterWork(exposure)


class Places:
    """Inference log, sink and shadow queue in one, remembering what came in which batches."""

    def __init__(self, *, fails: tuple[str, ...] = (), pause_s: float = 0.0) -> None:
        self.batches: list[list[str]] = []
        self.emitted: list[str] = []
        self.asked: list[str] = []
        self._fails = fails
        self._pause_s = pause_s

    def write(self, exposures: Any) -> None:
        time.sleep(self._pause_s)
        if "log" in self._fails:
            raise OSError("no space left on device")
        self.batches.append([exposure.request_id for exposure in exposures])

    def emit(self, kind: str, records: Any) -> None:
        if "sink" in self._fails:
            raise OSError("no space left on device")
        self.emitted += [record["request_id"] for record in records]

    def enqueue(self, question: Any, target: RouteTarget, request_id: str) -> bool:
        if "queue" in self._fails:
            return False
        self.asked.append(request_id)
        return True

    @property
    def logged(self) -> list[str]:
        return [request_id for batch in self.batches for request_id in batch]

    def writer(self) -> Writer:
        return Writer(self, self, self)  # type: ignore[arg-type]


def test_immediate_work_is_done_on_return() -> None:
    places = Places()
    worker = Immediate(places.writer())
    worker.submit(work(1, shadow=True))
    worker.submit(work(2))
    assert (places.logged, places.emitted, places.asked) == (["r1", "r2"], ["r1", "r2"], ["r1"])


@pytest.mark.parametrize(
    ("failing", "label"), [("log", "inference_log"), ("sink", "event_sink"), ("queue", "shadow_queue")]
)
def test_one_failing_place_costs_its_own_part_only(failing: str, label: str) -> None:
    places = Places(fails=(failing,))
    writer = places.writer()
    writer.write([work(1, shadow=True)])
    done = {"log": places.logged, "sink": places.emitted, "queue": places.asked}
    assert {name for name, found in done.items() if not found} == {failing}
    assert writer.counters.snapshot()["counters"][f"after_reply_lost:{label}"] == 1


def test_the_background_loses_nothing_when_it_stops() -> None:
    places = Places(pause_s=0.01)
    worker = Background(places.writer(), batch=10)
    threads = [
        threading.Thread(target=lambda start=start: [worker.submit(work(start + i)) for i in range(100)])
        for start in (0, 100, 200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worker.close(20)
    assert sorted(places.logged) == sorted(f"r{number}" for number in range(300))
    assert max(len(batch) for batch in places.batches) <= 10


def test_the_background_writes_without_being_stopped_and_starts_again() -> None:
    places = Places()
    worker = Background(places.writer(), every_s=0.01)
    for number in range(2):
        worker.submit(work(number))
        wait_until(lambda number=number: len(places.logged) > number, "it was written", every_s=0.005)
        assert worker.close()  # as a server does that stops; the next submit begins anew
    assert places.logged == ["r0", "r1"]


def test_a_full_queue_drops_the_newest_and_counts_it() -> None:
    places = Places(pause_s=0.05)
    writer = places.writer()
    worker = Background(writer, batch=1, capacity=5)
    for number in range(50):
        worker.submit(work(number))
    assert worker.close(20)
    counters = writer.counters.snapshot()["counters"]
    assert counters["after_reply_lost:queue_full"] + len(places.logged) == 50
    assert places.logged[0] == "r0"


class RuntimeApi:
    """Lambda's Runtime Extensions API: a registration, then events one at a time; remembers the order of everything."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.order: list[str] = []
        self.asked = threading.Condition()
        self.invocations = 0
        self.answered = 0
        self.over = False
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                good = json.loads(body) == {"events": ["INVOKE"]} and self.headers["Lambda-Extension-Name"]
                api.order.append("register")
                self._send(403 if refuses or not good else 200, {})

            def do_GET(self) -> None:
                assert self.headers["Lambda-Extension-Identifier"] == "id-1"
                with api.asked:
                    api.order.append("next")
                    api.asked.notify_all()
                    api.asked.wait_for(lambda: api.invocations > api.answered or api.over, 20)
                    api.answered += 1
                kind = "SHUTDOWN" if api.over else "INVOKE"
                self._send(200, {"eventType": kind, "deadlineMs": (time.time() + 20) * 1000})

            def _send(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Lambda-Extension-Identifier", "id-1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def invoke(self) -> None:
        """The runtime begins an invocation."""
        with self.asked:
            self.invocations += 1
            self.asked.notify_all()

    def wait_for_next(self, count: int) -> bool:
        """Whether the extension has asked for its ``count``-th event: only then may the sandbox freeze."""
        with self.asked:
            return self.asked.wait_for(lambda: self.order.count("next") >= count, PATIENCE_S)

    def stop(self) -> None:
        with self.asked:
            self.over = True
            self.asked.notify_all()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def runtime_api() -> Iterator[RuntimeApi]:
    api = RuntimeApi()
    yield api
    api.stop()


def test_on_lambda_work_is_written_after_the_response_and_before_the_freeze(runtime_api: RuntimeApi) -> None:
    places = Places()
    worker = LambdaExtension(places.writer(), runtime_api.address)
    assert worker.start()
    assert runtime_api.wait_for_next(1)
    for number in (1, 2):
        runtime_api.invoke()
        worker.submit(work(number))
        assert len(places.logged) == number - 1  # nothing is written while the handler runs
        worker.request_finished()
        assert runtime_api.wait_for_next(number + 1)
        assert places.logged == [f"r{done}" for done in range(1, number + 1)]
    assert runtime_api.order == ["register", "next", "next", "next"]


def test_without_the_extension_work_is_written_before_the_reply() -> None:
    refusing = RuntimeApi(refuses=True)
    places = Places()
    worker = LambdaExtension(places.writer(), refusing.address)
    assert not worker.start()
    worker.submit(work(1))
    assert places.logged == ["r1"]
    refusing.stop()
    assert not LambdaExtension(places.writer(), "127.0.0.1:1").start()


def test_an_extension_that_is_cut_off_writes_what_waits_and_then_at_once(runtime_api: RuntimeApi) -> None:
    places = Places()
    worker = LambdaExtension(places.writer(), runtime_api.address)
    assert worker.start()
    assert runtime_api.wait_for_next(1)
    worker.submit(work(1))
    with runtime_api.asked:
        runtime_api.over = True
        runtime_api.asked.notify_all()
    wait_until(lambda: places.logged, "it was written", every_s=0.005)
    worker.submit(work(2))
    assert places.logged == ["r1", "r2"]
