"""The shop's API in this process, on a simulated clock: the service that answers, and a client that survives crashes.

Feedback goes through the handler of ``POST /feedback`` in batches. Some calls meet a crash of the server; the client
then repeats them, as the shop page does, and the events must be stored once.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from lambda_api.handlers import api, dependencies
from lambda_api.handlers.after_reply import Worker
from lambda_api.handlers.dependencies import Serving
from lambda_api.handlers.shadow import ShadowConsumer, drain
from lambda_api.local_server.events import HttpRequest, make_event
from lambda_api.serving.question import Question
from lambda_api.serving.service_answer import AfterWork, ServiceAnswer
from lambda_api.settings import Settings
from tests.patience import patient

BATCH: Final = 50
REPEATED: Final = 0.02
"""Share of calls that are sent twice, because the reply was lost."""

CRASHED: Final = 0.04
"""Share of calls during which the server dies: before it stored anything, within the append to the stream, or after."""

MAX_ATTEMPTS: Final = 20
MEDIAN_MS: Final = 8.0
LATENCY_SIGMA: Final = 0.4
SLOWER: Final = 3.0
"""Latencies are lognormal; those of a slow version are so many times as long."""


class Clock:
    """Simulated seconds since 1970 UTC."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Counts:
    """What the client met in a day."""

    sent: int = 0
    refused: int = 0
    crashes: int = 0
    repeated: int = 0
    fallbacks: int = 0


@dataclass(frozen=True)
class _SimulatedLatency:
    """Writes lists after the reply, with latencies of their own: the load of the machine that simulates says nothing.

    They depend on the request alone, so that all arms meet the same.
    """

    writer: Worker
    slow_version: str

    def submit(self, work: AfterWork) -> None:
        """See `Worker`."""
        shown = work.exposure
        latency = random.Random(shown.request_id).lognormvariate(math.log(MEDIAN_MS), LATENCY_SIGMA)
        if shown.model_version == self.slow_version:
            latency *= SLOWER
        self.writer.submit(replace(work, exposure=replace(shown, latency_ms=round(latency, 3))))

    def request_finished(self) -> None:
        """See `Worker`."""
        self.writer.request_finished()

    def close(self, timeout_s: float = 5.0) -> bool:
        """See `Worker`."""
        return self.writer.close(timeout_s)


@dataclass
class LiveShop:
    """The API of one home. Call `restart` after a release, and `close` at the end.

    Attributes:
        clock: of everything that serves.
        rng: of crashes and lost replies.
        answers_shadow: ask the shadow each question after its reply.
        slow_version: whose lists take `SLOWER` times as long, from the next `restart` on; empty: none.
    """

    settings: Settings
    clock: Clock
    rng: np.random.Generator
    counts: Counts = field(default_factory=Counts)
    answers_shadow: bool = False
    slow_version: str = ""
    _serving: Serving | None = None
    _waiting: list[dict[str, Any]] = field(default_factory=list)
    _shoppers: set[str] = field(default_factory=set)

    def restart(self) -> Serving:
        """A new server process, as far as its objects go."""
        self.close()
        writing = patient(self.settings, clock=self.clock)
        worker = _SimulatedLatency(writing.after_reply, self.slow_version)
        # Fallbacks would otherwise depend on how busy the machine is.
        self._serving = patient(self.settings, immediate=False, worker=worker, clock=self.clock)
        dependencies.use(self._serving)
        self._serving.warm()
        return self._serving

    def close(self) -> None:
        """Close files and connections."""
        if self._serving is not None:
            self._serving.close()
            self._serving = None
            dependencies.use(None)

    def recommend(self, user_id: str, k: int, request_id: str) -> ServiceAnswer:
        """The list of a shopper, whose own events have arrived before."""
        if user_id in self._shoppers:
            self.flush()
        serving = self._serving or self.restart()
        answer = serving.service.recommend(Question(user_id, (), int(self.clock()), k), (), request_id)
        self.counts.fallbacks += answer.cause is not None
        if self.answers_shadow and serving.shadow_queue is not None:
            consumer = ShadowConsumer(serving.scorer, serving.inference_log, serving.sink, self.clock)
            drain(consumer, serving.shadow_queue)
        return answer

    def report(self, event: Mapping[str, Any]) -> None:
        """Queue one event of ``POST /feedback``."""
        self._waiting.append(dict(event))
        self._shoppers.add(event["user_id"])
        if len(self._waiting) == BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what waits, until everything is accepted."""
        waiting, self._waiting = self._waiting, []
        self._shoppers.clear()
        self.counts.sent += len(waiting)
        for _ in range(MAX_ATTEMPTS):
            if not waiting:
                return
            draw = self.rng.random()
            if draw < CRASHED:
                self._crash(waiting, draw / CRASHED)
                continue
            answer = self._send(waiting)
            if draw < CRASHED + REPEATED:
                self.counts.repeated += 1
                answer = self._send(waiting)
            self.counts.refused += len(answer["refused"])
            again = set(answer["retry"])
            waiting = [event for event in waiting if event["event_id"] in again]
            if waiting:
                self.restart()
        if waiting:
            raise RuntimeError(f"{len(waiting)} events were refused {MAX_ATTEMPTS} times")

    def _send(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        if self._serving is None:
            self.restart()
        request = HttpRequest(
            "POST", "/feedback", (("content-type", "application/json"),), json.dumps({"events": events}).encode(),
            "HTTP/1.1", "127.0.0.1",
        )  # fmt: skip
        event = make_event(
            request, route_key="POST /feedback", path_parameters={}, request_id=f"f{self.counts.sent}",
            now_ms=int(self.clock() * 1000), authorizer={"scopes": "shop"},
        )  # fmt: skip
        answer = api.answer(event, None)
        content: dict[str, Any] = json.loads(answer["body"])
        if answer["statusCode"] != 202:
            raise RuntimeError(f"feedback was answered with {answer['statusCode']}: {content}")
        return content

    def _crash(self, events: list[dict[str, Any]], draw: float) -> None:
        """The server dies: before the call, within its append, or before its reply. No reply reaches the client."""
        self.counts.crashes += 1
        if draw > 1 / 3:
            self._send(events)
        if draw > 2 / 3:
            self._tear(events)
        self.restart()

    def _tear(self, events: list[dict[str, Any]]) -> None:
        """Leave half a line at the end of the newest file of the stream."""
        files = sorted(
            (Path(self.settings.home) / "events" / "feedback").glob("*/*.jsonl"), key=lambda one: one.stat().st_mtime
        )
        with files[-1].open("ab") as stream:
            stream.write(json.dumps(events[0]).encode()[:40])
