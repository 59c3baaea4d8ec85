"""A small shop with a champion and a challenger, evidence by script, and the deployed machine in its interpreter."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lambda_api.state.routing_record import RoutingRecord, read_routing
from lambda_api.state.table import Table
from recsys_assets.registry.records import ModelVersion
from recsys_deploy.release.route import route_champion
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.handler import dispatch
from recsys_deploy.rollout.judge import Answers, Evidence
from recsys_deploy.rollout.machine import Machine, machine
from recsys_deploy.rollout.plan import RolloutPlan, interleaved, plan_of
from recsys_deploy.rollout.record import RolloutRecord, current_rollout
from recsys_deploy.rollout.steps import Rollouts
from tests.publishing.shops import Home

PRODUCTS = [f"p{number}" for number in range(30)]

GOOD = Evidence(
    control=Answers(requests=5_000, shoppers=900, distinct_products=30, newest_age_s=1),
    treatment=Answers(requests=5_000, shoppers=100, distinct_products=30, newest_age_s=1),
)
BROKEN = replace(GOOD, treatment=replace(GOOD.treatment, broken=4_000))
SILENT = Evidence()


class Crash(RuntimeError):
    """A step that did its work and never answered."""


@dataclass
class Script:
    """Evidence by stage name; looks at a stage not named find `GOOD`."""

    by_stage: Mapping[str, Evidence | Exception] = field(default_factory=dict)
    looks: list[str] = field(default_factory=list)

    def collect(self, record: RolloutRecord, now: float) -> Evidence:
        """See `EvidenceSource`."""
        self.looks.append(record.current_stage.name)
        found = self.by_stage.get(record.current_stage.name, GOOD)
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class World:
    """What a rollout works on."""

    home: Home
    serving: Table
    first: ModelVersion
    second: ModelVersion
    script: Script
    rollouts: Rollouts
    messages: list[tuple[str, str]]
    steps: list[str]
    crash_after: dict[str, int]
    crash_before: dict[str, int]
    calls: list[RoutingRecord] = field(default_factory=list)

    def call(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What the machine's function does, crashing where the test says so; every route is kept."""
        step = str(event.get("step"))
        if self.crash_before.get(step, 0) > 0:
            self.crash_before[step] -= 1
            raise TableUnavailable_("broken on purpose")
        answer = dispatch(self.rollouts, event)
        self.steps.append(step)
        self.calls.append(self.route)
        if self.crash_after.get(step, 0) > 0:
            self.crash_after[step] -= 1
            raise TableUnavailable_("answer lost on purpose")
        return answer

    @property
    def route(self) -> RoutingRecord:
        found = read_routing(self.serving)
        assert found is not None
        return found

    @property
    def live(self) -> list[tuple[str, int]]:
        """Versions and their shares."""
        return [(variant.target.version, variant.weight) for variant in self.route.variants]

    @property
    def champion(self) -> str:
        found = self.home.registry.champion()
        assert found is not None
        return str(found.version)

    @property
    def record(self) -> RolloutRecord:
        found = current_rollout(self.serving)
        assert found is not None
        return found

    @contextmanager
    def machine(self, longest_wait_s: float = 0.02) -> Iterator[Machine]:
        """The interpreter; pauses are cut short."""
        with machine(self.call, longest_retry_s=0.01, longest_wait_s=longest_wait_s) as running:
            yield running


class TableUnavailable_(Exception):
    """Raised under the name that the machine retries."""


TableUnavailable_.__name__ = "TableUnavailable"


def make_world(
    folder: Path,
    serving: Table | None = None,
    by_stage: Mapping[str, Evidence | Exception] | None = None,
    clock: Callable[[], float] | None = None,
) -> World:
    """A champion that everybody gets, and a registered challenger that nobody has met."""
    home = Home.at(folder / "home")
    table = serving or home.serving
    first = home.promote(*PRODUCTS)
    route_champion(home.registry, table, str(first.version), now=1)
    second = home.register(*PRODUCTS, seed=1)
    script, messages = Script(by_stage or {}), []

    def tell(subject: str, text: str) -> None:
        messages.append((subject, text))

    rollouts = Rollouts(home.registry, home.bundles, table, folder / "cache", script, tell=tell)
    if clock is not None:
        rollouts = replace(rollouts, clock=clock)
    return World(home, table, first, second, script, rollouts, messages, [], {}, {})


@dataclass(frozen=True, slots=True)
class Execution:
    """How an execution ended: its status and error, as Step Functions says them."""

    status: str
    error: str


def end_of(machine: Machine, execution: str, timeout_s: float) -> Execution:
    """Wait until an execution has ended."""
    until = time.monotonic() + timeout_s
    while machine.is_running(execution):
        assert time.monotonic() < until, f"{execution} runs longer than {timeout_s} s"
        time.sleep(0.05)
    found = machine.client.describe_execution(executionArn=execution)
    return Execution(found["status"], found.get("error", ""))


def fast(
    strategy: Strategy, *, approval_s: float = 0.0, stages: Sequence[int] | None = None, interleave: bool = False
) -> RolloutPlan:
    """The usual plan with every duration nothing: each look ends its stage. The shop goes by guardrails alone."""
    plan = interleaved(plan_of(strategy)) if interleave else plan_of(strategy)
    kept = plan.stages if stages is None else tuple(plan.stages[at] for at in stages)
    return replace(
        plan,
        stages=tuple(replace(stage, min_s=0.0, max_s=60.0) for stage in kept),
        look_s=0.01,
        approval_s=approval_s,
        offline_only=True,
        limits=replace(plan.limits, settle_s=0.0),
    )
