"""A shop's traffic against a running server, and the outcome of every request.

Sends, times and counts, for the serving benchmark and the fault tests, which start the servers themselves.
``python -m tests.load_driver --port P --key K --ids FILE`` prints JSON.
"""

import argparse
import http.client
import json
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_S

TIMEOUT_S = 20.0
RECOMMEND, FEEDBACK, SIMILAR, POPULAR = "/recommend", "/feedback", "/similar", "/popular"
MIX = ((RECOMMEND, 0.75), (FEEDBACK, 0.15), (SIMILAR, 0.06), (POPULAR, 0.04))
"""Shares of requests of a shop: mostly lists, a click now and then."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one request.

    Attributes:
        at: when it was sent, ``time.monotonic`` seconds; ``ms``: until the reply was read.
        route: of the API. ``status``: of HTTP, 0 where the connection broke.
        note: of a list its ``fallback``, of a broken connection the error.
        model_version: of a list.
    """

    at: float
    route: str
    status: int
    ms: float
    note: str | None = None
    model_version: str | None = None


@dataclass
class Traffic:
    """Everything sent and answered.

    Attributes:
        accepted: ids of events the server answered for as stored.
        to_retry: ids it asked to be sent again; unanswered ones are in neither.
    """

    replies: list[Reply] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    to_retry: set[str] = field(default_factory=set)
    seconds: float = 0.0

    def statuses(self) -> Counter[int]:
        """Replies by status."""
        return Counter(reply.status for reply in self.replies)

    def quantile_ms(self, q: float, route: str | None = None) -> float:
        """Of the time that answered requests took."""
        times = sorted(r.ms for r in self.replies if r.status and route in (None, r.route))
        return times[min(len(times) - 1, int(q * len(times)))] if times else float("nan")

    def summary(self) -> dict[str, Any]:
        """What a table shows; JSON-able."""
        answered = [reply for reply in self.replies if reply.status]
        return {
            "requests": len(self.replies),
            "per_second": len(answered) / self.seconds if self.seconds else 0.0,
            "p50_ms": self.quantile_ms(0.5),
            "p99_ms": self.quantile_ms(0.99),
            "p99_ms_by_route": {route: round(self.quantile_ms(0.99, route), 1) for route, _ in MIX},
            "statuses": {str(status): count for status, count in sorted(self.statuses().items())},
            "errors": sum(not 200 <= reply.status < 300 for reply in self.replies),
            "fallbacks": dict(Counter(reply.note for reply in answered if reply.note)),
            "accepted_events": len(self.accepted),
            "events_to_retry": len(self.to_retry),
        }


class Client:
    """One connection that stays open, opened again when it breaks."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, content: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and body. Raises ``OSError`` or ``http.client.HTTPException`` where the connection broke."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            body = None if content is None else json.dumps(content).encode()
            self._connection.request(method, path, body, self._headers)
            response = self._connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def drive(
    port: int,
    key: str,
    shoppers: Sequence[str],
    product_ids: Sequence[str],
    seconds: float,
    threads: int = 8,
    pause_s: float = 0.0,
    stop: threading.Event | None = None,
) -> Traffic:
    """Send requests from ``threads`` shoppers at once, each waiting for its reply and then for ``pause_s``.

    Args:
        port: of the server, on this machine.
        key: sent as ``X-API-Key``.
        shoppers, product_ids: to draw from; the earlier products more often.
        seconds: how long; ``stop`` ends it earlier.
        threads: requests in flight at most.
        pause_s: between a reply and the next request of the same thread.
        stop: ends it when set.
    """
    traffic, lock, stop = Traffic(), threading.Lock(), stop or threading.Event()
    began = time.monotonic()
    until = began + seconds

    def work(number: int) -> None:
        chance, client = random.Random(number), Client(port, key)
        while time.monotonic() < until and not stop.is_set():
            route, send = _next_request(chance, shoppers, product_ids)
            reply, accepted, to_retry = _timed(route, send, client)
            with lock:
                traffic.replies.append(reply)
                traffic.accepted |= accepted
                traffic.to_retry |= to_retry
            if reply.status == 0:
                time.sleep(0.05)
            elif pause_s:
                time.sleep(pause_s)
        client.close()

    running = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    traffic.seconds = time.monotonic() - began
    return traffic


Send = Callable[[Client], tuple[int, dict[str, Any], set[str]]]


def _next_request(chance: random.Random, shoppers: Sequence[str], product_ids: Sequence[str]) -> tuple[str, Send]:
    """The next route and how to ask it; what is sent back holds the ids of the events in the request."""
    route = chance.choices([name for name, _ in MIX], [share for _, share in MIX])[0]
    shopper = chance.choice(shoppers) if chance.random() < 0.9 else f"visitor_{chance.randrange(10_000)}"
    product = product_ids[int(len(product_ids) * chance.random() ** 3)]

    def recommend(client: Client) -> tuple[int, dict[str, Any], set[str]]:
        content: dict[str, Any] = {"user_id": shopper, "num_recommendations": chance.choice([5, 10, 10, 20])}
        if chance.random() < 0.3:
            content["context"] = {"page": "product", "product_ids": [product], "device": "mobile"}
        if chance.random() < 0.2:
            content |= {"diversity": 0.3, "include_products": True}
        return *client.send("POST", RECOMMEND, content), set()

    def feedback(client: Client) -> tuple[int, dict[str, Any], set[str]]:
        kind = chance.choice(["view", "view", "view", "add_to_cart", "purchase"])
        events = [
            {"event_id": uuid.uuid4().hex, "user_id": shopper, "product_id": product, "event_type": kind}
            for _ in range(chance.choice([1, 1, 1, 3]))
        ]
        return *client.send("POST", FEEDBACK, {"events": events}), {event["event_id"] for event in events}

    def similar(client: Client) -> tuple[int, dict[str, Any], set[str]]:
        return *client.send("GET", f"{SIMILAR}/{product}?k=10"), set()

    def popular(client: Client) -> tuple[int, dict[str, Any], set[str]]:
        return *client.send("GET", f"{POPULAR}?k=10"), set()

    return route, {RECOMMEND: recommend, FEEDBACK: feedback, SIMILAR: similar, POPULAR: popular}[route]


def _timed(route: str, send: Send, client: Client) -> tuple[Reply, set[str], set[str]]:
    at, began = time.monotonic(), time.perf_counter()
    try:
        status, content, sent = send(client)
    except (OSError, http.client.HTTPException, ValueError) as error:
        ms = 1000 * (time.perf_counter() - began)
        return Reply(at, route, 0, ms, f"{type(error).__name__}: {error}"), set(), set()
    ms = 1000 * (time.perf_counter() - began)
    to_retry = set(content.get("retry", ())) if status == 202 else set()
    accepted = sent - to_retry if status == 202 else set()
    return Reply(at, route, status, ms, content.get("fallback"), content.get("model_version")), accepted, to_retry


def wait_until_healthy(port: int, process: subprocess.Popen[bytes], seconds: float = PATIENCE_S) -> None:
    """Return when ``/health`` answers. Raises ``RuntimeError`` when it does not, or the process ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    raise RuntimeError(f"the server on port {port} does not answer")


def main() -> None:
    """Drive a server and print the summary."""
    parser = argparse.ArgumentParser(prog="tests.load_driver", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--ids", type=Path, required=True, help='JSON file {"shoppers": [...], "product_ids": [...]}')
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=8)
    given = parser.parse_args()
    ids = json.loads(given.ids.read_text())
    drive(given.port, given.key, ids["shoppers"], ids["product_ids"], min(2.0, given.seconds), given.threads)
    traffic = drive(given.port, given.key, ids["shoppers"], ids["product_ids"], given.seconds, given.threads)
    print(json.dumps(traffic.summary()))


if __name__ == "__main__":
    main()
