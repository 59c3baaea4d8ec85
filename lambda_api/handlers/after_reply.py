"""Writes inference log, event stream and shadow queue after the reply: at once, in a thread, or as a Lambda extension.

Nothing here blocks a request or raises; records that cannot be written are counted and logged.
"""

import http.client
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lambda_api.serving.counters import Counters
from lambda_api.serving.service_answer import AfterReply, AfterWork
from lambda_api.state.event_sink import EventSink
from lambda_api.state.exposures import InferenceLog
from lambda_api.state.shadow_queue import ShadowQueue

BATCH = 100
EVERY_S = 0.1
CAPACITY = 10_000
"""Requests whose work may wait; further ones are dropped and counted."""

log = logging.getLogger(__name__)


class Writer:
    """Writes batches to inference log, event sink and shadow queue; a failure of one does not affect the others."""

    def __init__(
        self,
        exposures: InferenceLog | None,
        sink: EventSink | None,
        shadow: ShadowQueue | None,
        counters: Counters | None = None,
    ) -> None:
        self._exposures = exposures
        self._sink = sink
        self._shadow = shadow
        self.counters = counters or Counters()

    def write(self, batch: Sequence[AfterWork]) -> None:
        """Write all of ``batch``. Never raises."""
        shown = [work.exposure for work in batch]
        if self._exposures is not None:
            self._attempt("inference_log", len(shown), self._exposures.write, shown)
        if self._sink is not None:
            records = [exposure.to_json() for exposure in shown]
            self._attempt("event_sink", len(shown), self._sink.emit, "exposure", records)
        if self._shadow is not None:
            for work in batch:
                if work.shadow is not None:
                    asked = (work.question, work.shadow, work.exposure.request_id)
                    self._attempt("shadow_queue", 1, self._shadow.enqueue, *asked)

    def _attempt(self, name: str, count: int, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            taken = function(*arguments)
        except Exception as error:
            log.exception("%d records not written to %s: %s", count, name, type(error).__name__)
            taken = False
        self.counters.add("after_reply_lost" if taken is False else "after_reply_written", name, count)


class Worker(AfterReply, Protocol):
    """Decides when and in which thread work after the reply is done."""

    def request_finished(self) -> None:
        """The handler is about to return."""
        return

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write all waiting work; returns whether it was written in time."""
        return True


class Immediate(Worker):
    """Writes before ``submit`` returns: for tests, and for Lambda without the extension."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def submit(self, work: AfterWork) -> None:
        """See `Worker`."""
        self._writer.write([work])


class Background(Worker):
    """A thread that writes every ``every_s`` seconds, or sooner when ``batch`` requests wait: for long-lived servers.

    The thread starts with the first work; a forked child starts its own.
    """

    def __init__(
        self, writer: Writer, *, batch: int = BATCH, every_s: float = EVERY_S, capacity: int = CAPACITY
    ) -> None:
        self._writer = writer
        self._batch = batch
        self._every_s = every_s
        self._capacity = capacity
        self._thread: threading.Thread | None = None
        self._reset_after_fork()

    def submit(self, work: AfterWork) -> None:
        """See `Worker`. When the queue is full, ``work`` is dropped and counted."""
        if self._owner != os.getpid():
            self._reset_after_fork()
        with self._changed:
            if len(self._waiting) >= self._capacity:
                self._writer.counters.add("after_reply_lost", "queue_full")
                return
            self._waiting.append(work)
            if self._thread is None or not self._thread.is_alive():
                self._closing = False
                self._thread = threading.Thread(target=self._run, name="after-reply", daemon=True)
                self._thread.start()
            if len(self._waiting) == self._batch:
                self._changed.notify()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Write all waiting work and end the thread."""
        if self._owner != os.getpid() or self._thread is None:
            return True
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._waiting

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._closing and len(self._waiting) < self._batch:
                    self._changed.wait(self._every_s)
                taken = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
                if not taken and self._closing:
                    return
            if taken:
                self._writer.write(taken)
            elif not self._idle_wait():
                return

    def _idle_wait(self) -> bool:
        """Sleep until there is work, instead of waking ten times a second."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait(1.0)
            return bool(self._waiting) or not self._closing

    def _reset_after_fork(self) -> None:
        self._owner = os.getpid()
        self._waiting: deque[AfterWork] = deque()
        self._changed = threading.Condition()
        self._thread = None
        self._closing = False


class LambdaExtension:
    """Writes after the response has been sent, as an internal extension of the Lambda runtime.

    Lambda freezes a sandbox once the runtime *and* every extension have asked for the next event. This extension asks
    only after it has written the work of the invocation, while the response travels to the shopper (AWS Lambda
    Developer Guide, "Lambda Extensions API"). It must register before the first invocation: call `start` while the
    handler module is imported.

    Args:
        writer: see `Writer`.
        runtime_api: host and port, from ``AWS_LAMBDA_RUNTIME_API``.
        name: shown in Lambda's logs.
    """

    VERSION = "2020-01-01"

    def __init__(self, writer: Writer, runtime_api: str, *, name: str = "recsys-after-reply") -> None:
        self._writer = writer
        self._runtime_api = runtime_api
        self._name = name
        self._lock = threading.Lock()
        self._waiting: list[AfterWork] = []
        self._finished = threading.Event()
        self._registered = False

    def start(self) -> bool:
        """Register and start the thread; on failure (``False``) work is written before the reply."""
        try:
            identifier = self._register()
        except (OSError, http.client.HTTPException, ValueError) as error:
            log.warning("no work after replies: the extension could not register: %s", error)
            return False
        self._registered = True
        threading.Thread(target=self._run, args=(identifier,), name=self._name, daemon=True).start()
        return True

    def submit(self, work: AfterWork) -> None:
        """See `Worker`."""
        with self._lock:
            if self._registered:
                self._waiting.append(work)
                return
        self._writer.write([work])

    def request_finished(self) -> None:
        """See `Worker`."""
        self._finished.set()

    def close(self, timeout_s: float = 5.0) -> bool:
        """See `Worker`."""
        self._write_waiting()
        return True

    def _register(self) -> str:
        connection = http.client.HTTPConnection(self._runtime_api, timeout=2)
        try:
            headers = {"Lambda-Extension-Name": self._name, "Content-Type": "application/json"}
            body = json.dumps({"events": ["INVOKE"]})
            connection.request("POST", f"/{self.VERSION}/extension/register", body, headers)
            response = connection.getresponse()
            response.read()
            identifier = response.getheader("Lambda-Extension-Identifier")
        finally:
            connection.close()
        if response.status != 200 or not identifier:
            raise ValueError(f"the runtime answered {response.status}")
        return identifier

    def _run(self, identifier: str) -> None:
        # No time limit: the answer comes with the next invocation, perhaps hours later.
        connection = http.client.HTTPConnection(self._runtime_api, timeout=None)
        path, headers = f"/{self.VERSION}/extension/event/next", {"Lambda-Extension-Identifier": identifier}
        try:
            while True:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                event = json.loads(response.read())
                if response.status != 200 or event.get("eventType") != "INVOKE":
                    raise ValueError(f"the runtime answered {response.status}: {event.get('eventType')}")
                left_s = event.get("deadlineMs", 0) / 1000 - time.time()
                self._finished.wait(max(0.1, min(left_s, 900.0)))
                self._finished.clear()
                self._write_waiting()
        except (OSError, http.client.HTTPException, ValueError) as error:
            log.warning("work is written before replies from now on: %s", error)
        finally:
            with self._lock:
                self._registered = False
            connection.close()
            self._write_waiting()

    def _write_waiting(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        for start in range(0, len(batch), BATCH):
            self._writer.write(batch[start : start + BATCH])
