"""Rollouts on simulated days, by the real steps, judge, record, route and event stream.

The state machine is the deployed definition in moto's interpreter: its steps take milliseconds, so simulated time needs
no driver of its own. Only its state ``Wait`` is replaced: it ends when the simulated clock has reached the next look.
"""

import shutil
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

from benchmarks.year.pipeline import Pipeline
from benchmarks.year.plan import CANDIDATES, DAMAGED, ERRORS, SLOW, UNTRACKED, Candidate, YearPlan
from benchmarks.year.shop import LiveShop
from lambda_api.serving.service_answer import ServiceAnswer
from lambda_api.state.open_table import open_table
from lambda_api.state.routing_record import read_routing
from recsys_assets.event_stream import events_root
from recsys_deploy.experiments.comparison import BusinessRules
from recsys_deploy.experiments.stream_tables import StreamTables
from recsys_deploy.release.strategies import CHALLENGER, Strategy
from recsys_deploy.rollout import plan as rollout_plan
from recsys_deploy.rollout.evidence import LocalAlarms, StreamEvidence
from recsys_deploy.rollout.handler import dispatch
from recsys_deploy.rollout.machine import machine
from recsys_deploy.rollout.plan import DAY_S, HOUR_S, RolloutPlan, Stage, StageKind
from recsys_deploy.rollout.record import ENDED, RolloutRecord, Status, current_rollout
from recsys_deploy.rollout.steps import Rollouts

LOOK_S: Final = 6 * 3_600
TRAINING: Final = "the loop's training"
UNTRACKED_EVERY: Final = 2
"""Every second shopper of a version with a tracking bug reports nothing."""

POLL_S: Final = 0.01


@dataclass
class Trial:
    """One rollout of the year.

    Attributes:
        name: of `CANDIDATES`, or `TRAINING`.
        started, ended: ISO days; ``ended`` is empty while it runs.
        stage: the last one that it reached; ``status`` and ``reason`` as its record says them.
        met: visits that it was to answer while it ran, in its shadow none.
    """

    name: str
    version: str
    started: str
    ended: str = ""
    stage: str = ""
    status: str = "running"
    reason: str = ""
    met: int = 0


def plan_of(plan: YearPlan, candidate: Candidate) -> RolloutPlan:
    """The canary of a small shop: 10 % in place of 1 % and 5 %, where too few visits would tell anything.

    A refresh, as the gate calls a newer fit of the champion's recipe, must not harm: guardrails and the test for harm
    decide. Everything else has to sell more, with the usual rules. Limits on requests are at most a day's visits.
    """
    usual = rollout_plan.plan_of(Strategy.CANARY)
    shadow, *_, half, warm = usual.stages
    canary = Stage("10 %", StageKind.GUARDRAILS, 1_000, DAY_S, 4 * DAY_S)
    visits = plan.shoppers * plan.sessions
    limits = replace(
        usual.limits,
        min_shadow_questions=min(usual.limits.min_shadow_questions, int(visits / 2)),
        min_requests=min(usual.limits.min_requests, int(visits / 10)),
        silence_s=8 * HOUR_S,  # nobody comes at night
    )
    rules = BusinessRules(max_days=plan.experiment_days, planned_shoppers=plan.shoppers)
    return replace(
        usual,
        stages=(shadow, canary, half, warm),
        look_s=LOOK_S,
        limits=limits,
        business=rules,
        offline_only=candidate.is_refresh,
    )


class PacedMachine:
    """One execution of the state machine, whose looks take place when `look` is called. Call `close` at the end.

    The interpreter runs in a thread; it and the caller take turns.

    Attributes:
        failure: why it ended, where it has and not well.
    """

    failure = ""

    def __init__(self, rollouts: Rollouts, rollout_id: str, version: str, plan: Mapping[str, Any]) -> None:
        from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction

        self._waits, self._look, self._stack = threading.Event(), threading.Semaphore(0), ExitStack()

        def wait(*_: Any, **__: Any) -> None:
            self._waits.set()
            self._look.acquire()

        self._machine = self._stack.enter_context(machine(lambda event: dispatch(rollouts, event)))
        self._stack.enter_context(mock.patch.object(WaitFunction, "_wait_interval", wait))
        self._execution = self._machine.start(rollout_id, version, plan)
        self._let_it_work()

    def look(self) -> None:
        """One look and the steps that follow from it, up to the next ``Wait`` or the end."""
        self._waits.clear()
        self._look.release()
        self._let_it_work()

    def close(self) -> None:
        """Stop it without any further step; the same id goes on with it in another machine."""
        self._machine.stop(self._execution)
        self._look.release()
        self._stack.close()

    def _let_it_work(self) -> None:
        while not self._waits.wait(POLL_S) and self._machine.is_running(self._execution):
            pass
        self.failure = "" if self._waits.is_set() else self._machine.failure(self._execution)


@dataclass
class Trials:
    """The rollouts of one arm.

    Attributes:
        trials: so far, oldest first; at most the last one runs.
        met: place in ``trials`` of the version that answered a shopper last, by shopper; none for other versions.
        waiting: newest version of the loop that has not been rolled out; empty: none.
    """

    plan: YearPlan
    pipeline: Pipeline
    api: LiveShop
    trials: list[Trial] = field(default_factory=list)
    met: dict[int, int] = field(default_factory=dict)
    waiting: str = ""
    _machine: PacedMachine | None = None

    def __post_init__(self) -> None:
        settings, clock = self.pipeline.settings, self.pipeline.clock
        self._serving = open_table(settings, "serving", clock=clock)
        self._cache = settings.home / "bundles"
        self._rollouts = Rollouts(
            self.pipeline.registry,
            self.pipeline.bundles,
            self._serving,
            self._cache,
            StreamEvidence(StreamTables(events_root(settings), self.pipeline.lake), LocalAlarms()),
            clock=clock,
        )

    @property
    def running(self) -> Trial | None:
        """The rollout that has not ended."""
        return self.trials[-1] if self.trials and not self.trials[-1].ended else None

    def start_next(self, today: date) -> None:
        """Begin the rollout of the next version in turn, unless one runs: candidates of this week, then trainings."""
        if self.running is not None:
            return
        begun = {trial.name for trial in self.trials}
        for name, week in self.plan.candidate_weeks.items():
            if name not in begun and self.plan.start + timedelta(weeks=week) <= today:
                version = self.pipeline.register_candidate(today, list(CANDIDATES).index(name), name == DAMAGED)
                return self._begin(Trial(name, version, today.isoformat()))
        if self.waiting:
            self._begin(Trial(TRAINING, self.waiting, today.isoformat()))
            self.waiting = ""

    def look(self) -> bool:
        """One look at the rollout that runs, if one does; whether a version was promoted by it."""
        trial = self.running
        if trial is None:
            return False
        before = self._revision()
        self._running_machine(trial).look()
        record = self._note(trial)
        if trial.name == ERRORS and record.has_met_shoppers and record.status not in ENDED:
            self._lose(record)
        if self._revision() != before:
            self._serve()
        return record.status is Status.PROMOTED

    def close(self) -> None:
        """Stop the interpreter; a rollout goes on where it was in the next process."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def count(self, user: int, answer: ServiceAnswer) -> None:
        """Note which version a shopper met."""
        place = next((at for at, one in enumerate(self.trials) if one.version == answer.model_version), None)
        if answer.variant == CHALLENGER and self.running is not None:
            place = len(self.trials) - 1  # also where the champion answered for it
        if place is None:
            self.met.pop(user, None)
        else:
            self.trials[place].met += self.trials[place] is self.running
            self.met[user] = place

    def purchases_of(self, user: int, draw: float) -> int:
        """How many purchases take the place of one; ``draw`` within [0, 1)."""
        effect = CANDIDATES.get(self._met_by(user), Candidate()).effect
        return 1 if draw >= abs(effect) else 0 if effect < 0 else 2

    def is_untracked(self, user: int) -> bool:
        """Whether nothing that the shopper does is reported."""
        return self._met_by(user) == UNTRACKED and user % UNTRACKED_EVERY == 0

    def _met_by(self, user: int) -> str:
        return self.trials[self.met[user]].name if user in self.met else ""

    def _begin(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._running_machine(trial)
        self._note(trial)

    def _running_machine(self, trial: Trial) -> PacedMachine:
        if self._machine is None:
            plan = plan_of(self.plan, CANDIDATES.get(trial.name, Candidate(is_refresh=True)))
            self._machine = PacedMachine(self._rollouts, f"trial-{len(self.trials)}", trial.version, plan.to_json())
            self._serve()
        return self._machine

    def _note(self, trial: Trial) -> RolloutRecord:
        record, running = current_rollout(self._serving), self._machine
        assert running is not None
        if record is None or record.version != trial.version or (running.failure and record.status not in ENDED):
            raise RuntimeError(f"{trial.version} was not rolled out: {running.failure}")
        trial.stage, trial.reason = record.current_stage.name, record.reason
        if record.status in ENDED:
            trial.status = str(record.status)
            trial.ended = datetime.fromtimestamp(record.ended_at or 0.0, UTC).date().isoformat()
            self.close()
        return record

    def _serve(self) -> None:
        """Server processes that know the new route."""
        trial, record = self.running, current_rollout(self._serving)
        in_shadow = trial is not None and record is not None and record.current_stage.kind is StageKind.SHADOW
        self.api.answers_shadow = in_shadow
        self.api.slow_version = trial.version if trial is not None and trial.name == SLOW else ""
        self.api.restart()

    def _lose(self, record: RolloutRecord) -> None:
        """Its bundle is gone when the first shoppers meet it."""
        bundle = Path(record.target.bundle_uri.removeprefix("file://"))
        if bundle.exists():
            shutil.rmtree(bundle)
            shutil.rmtree(self._cache, ignore_errors=True)
            self.api.restart()

    def _revision(self) -> int:
        route = read_routing(self._serving)
        return 0 if route is None else route.revision
