"""Rollouts on a running shop: simulated shoppers, and candidates that are good, sell less, fail or are slow.

    python -m benchmarks.rollout_live

Each candidate meets a local server with two processes of its own, under load from threads that ask for lists and buy.
The rollout is the real one: the state machine in its interpreter, judge, evidence from the event stream. Only its
durations are short. Printed: the verdict, the seconds from the end of a rollout to the last list of a version that was
taken back, and how many requests were answered with an error.
"""

import argparse
import math
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lambda_api.state.api_keys import create
from lambda_api.state.open_table import open_table
from recsys_assets.event_stream import events_root
from recsys_deploy.experiments.stream_tables import StreamTables
from recsys_deploy.release.strategies import CHALLENGER, Strategy
from recsys_deploy.rollout.evidence import LocalAlarms, StreamEvidence
from recsys_deploy.rollout.plan import RolloutPlan, Stage, StageKind, plan_of
from recsys_deploy.rollout.record import RolloutRecord, Status
from recsys_deploy.rollout.runner import run, shadow_answers
from tests.load_driver import FEEDBACK, RECOMMEND, Client
from tests.local_server.processes import running
from tests.rollout.world import World, make_world

ROUTE_TTL_S = 30.0
"""Serving reads the route at least so often (``lambda_api.serving.routing``)."""

LOOK_S = 2.0
SHOPPERS = 2_000
THREADS = 8
BUYS = 0.3
"""Purchases per list with the champion."""

ENVIRONMENT = {"RECSYS_PREDICTION_CACHE_S": "0", "OPENBLAS_NUM_THREADS": "1"}
"""Of the server: every list is made when it is asked for."""

CANDIDATES = {"good": 1.6, "sells less": 0.4, "fails": 1.0}
"""Purchases with the candidate, as a multiple of the champion's; the bundle of the one that fails is lost."""


@dataclass
class Watched:
    """What shoppers got: statuses, and moments (seconds since 1970 UTC) of the candidate's first and last list."""

    statuses: Counter[int] = field(default_factory=Counter)
    first: float = math.inf
    last: float = 0.0


@dataclass(frozen=True)
class Ended:
    """How one rollout went; ``live``: versions and their weights at the end."""

    record: RolloutRecord
    watched: Watched
    seconds: float
    live: list[tuple[str, int]]

    @property
    def taken_back_after_s(self) -> float:
        """Seconds from the end of the rollout to the last list under the candidate's name."""
        return self.watched.last - (self.record.ended_at or 0.0)


def short_plan() -> RolloutPlan:
    """The stages of a canary in two minutes; half of the shoppers from the second step on."""
    plan = plan_of(Strategy.CANARY)
    stages = (
        Stage("shadow", StageKind.SHADOW, 0, 5.0, 120.0),
        Stage("10 %", StageKind.GUARDRAILS, 1_000, 10.0, 20.0),
        Stage("50 %", StageKind.EXPERIMENT, 5_000, 30.0, 240.0),
        Stage("everybody", StageKind.WARM, 10_000, 2 * LOOK_S, 2 * LOOK_S),
    )
    day = 86_400.0
    return replace(
        plan,
        stages=stages,
        look_s=LOOK_S,
        business=replace(plan.business, min_days=20 / day, max_days=180 / day, planned_shoppers=SHOPPERS),
        limits=replace(
            plan.limits,
            min_requests=50,
            min_shadow_questions=100,
            settle_s=ROUTE_TTL_S,
            outcome_window_s=10.0,
            silence_s=60.0,
            excluded_loss=0.0,
        ),
    )


def live(candidate: str, folder: Path, say: Any = print) -> Ended:
    """Register a candidate on a new shop, roll it out to simulated shoppers, and return how it ended."""
    world = make_world(folder)
    settings, version = world.home.settings, str(world.second.version)
    rollouts = replace(
        world.rollouts,
        evidence=StreamEvidence(StreamTables(events_root(settings)), LocalAlarms()),
        tell=lambda *_: None,
    )
    plan, watched, began = short_plan(), Watched(), time.time()
    if candidate == "fails":
        plan = replace(plan, stages=plan.stages[1:])  # its shadow would answer nothing, and no shopper would meet it
    rollouts.begin("live", version, plan.to_json())
    if candidate == "fails":
        shutil.rmtree(Path(world.second.bundle_uri.removeprefix("file://")))
        shutil.rmtree(rollouts.cache, ignore_errors=True)
    seen: set[float] = set()

    def look(record: RolloutRecord) -> None:
        for one in record.looks:
            if one.at not in seen:
                seen.add(one.at)
                say(f"{candidate}: {one.at - began:5.0f} s  {one.stage:10} {one.answer:8} {one.reason}", flush=True)

    with (
        running(folder, "--no-static", environment=ENVIRONMENT, fakes=False) as server,
        shopping(world, server.port, CANDIDATES[candidate], watched),
        shadow_answers(settings),
    ):
        record = run(rollouts, "live", version, plan.to_json(), look, poll_s=0.2)
        # Processes that have not read the route yet go on with the candidate until they do.
        time.sleep(ROUTE_TTL_S + 5 if record.status is not Status.PROMOTED else 0)
    return Ended(record, watched, time.time() - began, world.live)


@contextmanager
def shopping(world: World, port: int, lift: float, watched: Watched) -> Iterator[None]:
    """Shoppers who ask for lists and buy, ``lift`` times as much from the candidate, until the end."""
    key = create(open_table(world.home.settings, "api_keys"), "shoppers", {"shop"})
    stop, lock = threading.Event(), threading.Lock()

    def shop(number: int) -> None:
        chance, client = random.Random(number), Client(port, key)
        while not stop.wait(0.03):
            user = f"u{chance.randrange(SHOPPERS)}"
            status, answer = client.send("POST", RECOMMEND, {"user_id": user, "num_recommendations": 5})
            now, tried = time.time(), answer.get("variant") == CHALLENGER
            with lock:
                watched.statuses[status] += 1
                if tried:
                    watched.first, watched.last = min(watched.first, now), max(watched.last, now)
            if status == 200 and chance.random() < BUYS * (lift if tried else 1.0):
                product = answer["recommendations"][0]["product_id"]
                event = {
                    "event_id": f"e{number}-{now}",
                    "user_id": user,
                    "product_id": product,
                    "event_type": "purchase",
                }
                client.send("POST", FEEDBACK, {"events": [{**event, "request_id": answer["request_id"]}]})
        client.close()

    threads = [threading.Thread(target=shop, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    arguments = parser.parse_args()
    table = Table("candidate", "verdict", "why", "s in all", "s from abort to last list", "requests", "errors")
    for candidate in arguments.candidates:
        with tempfile.TemporaryDirectory() as folder:
            ended = live(candidate, Path(folder))
        requests = sum(ended.watched.statuses.values())
        taken_back = f"{max(0.0, ended.taken_back_after_s):.1f}" if ended.record.status is not Status.PROMOTED else ""
        table.add_row(
            candidate, str(ended.record.status), ended.record.reason, f"{ended.seconds:.0f}", taken_back,
            f"{requests:,}", f"{requests - ended.watched.statuses[200]:,}",
        )  # fmt: skip
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
