"""What each state of the machine does. Every step may be repeated: it looks where things stand, then does the rest.

The route moves only while it is as this rollout left it, in one transaction with the rollout's own record. The
champion pointer moves last, after shoppers have met the version. Whatever fails ends in `Rollouts.take_back`.

A rollback may come from outside while a step is under way, and the next rollout may begin right after it. The rollback
marks the record first: a step that was overtaken cannot write the route any more. The pointer is in another table and
follows the route: whoever moves it reads the route once more, so that both agree in the end.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from lambda_api.errors import RecsysError
from lambda_api.state.routing_record import RoutingRecord, read_routing
from lambda_api.state.table import Table
from recsys_assets.registry.bundle_store import BundleStore
from recsys_assets.registry.model_registry import ChampionMoved, ModelRegistry
from recsys_assets.registry.records import Status as VersionStatus
from recsys_assets.registry.versions import Version
from recsys_deploy.release.check import check_release
from recsys_deploy.release.route import RouteRefused, target_of
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.judge import Answer, Evidence, Judgement, judge
from recsys_deploy.rollout.plan import RolloutPlan, StageKind, in_words, plan_from_json, plan_of
from recsys_deploy.rollout.record import (
    ATTEMPTS,
    ENDED,
    Look,
    RolloutConflict,
    RolloutRecord,
    Status,
    claim,
    current_rollout,
    require_none,
    require_not_ended,
    running_rollout,
    update,
    write_with_route,
)
from recsys_deploy.rollout.routes import route_of_everybody, route_of_former, route_of_stage


class RolloutRefused(RecsysError):
    """A rollout cannot start or go on; the message says why."""


class EvidenceSource(Protocol):
    """Where looks get their evidence from (`recsys_deploy.rollout.evidence`)."""

    def collect(self, record: RolloutRecord, now: float) -> Evidence:
        """What is known of the rollout's stage at ``now`` (seconds since 1970 UTC)."""


@dataclass(frozen=True)
class Rollouts:
    """The steps of the state machine on one environment.

    Attributes:
        serving: the table of route and rollout.
        cache: local folder through which bundles are fetched for their check.
        usual_plan: of a rollout that names none.
        tell: takes subject and text of what people should know.
        clock: seconds since 1970 UTC.
    """

    registry: ModelRegistry
    bundles: BundleStore
    serving: Table
    cache: Path
    evidence: EvidenceSource
    usual_plan: RolloutPlan = field(default_factory=lambda: plan_of(Strategy.CANARY))
    tell: Callable[[str, str], None] = lambda subject, text: None
    clock: Callable[[], float] = time.time

    def begin(self, rollout_id: str, version: str, plan: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Check the bundle and claim the one place for a rollout. Gives what the machine waits and asks by.

        A rollout that has met nobody yet makes way for a newer version. Without a plan the environment's own is taken.

        Raises:
            RolloutRefused: nothing is live, or the version answers already.
            RolloutConflict: another rollout runs.
            ReleaseRefused, BundleError, UnknownVersion: the bundle does not pass its check.
        """
        wanted = self.usual_plan if plan is None else plan_from_json(plan)
        current = current_rollout(self.serving)
        if current is None or current.id != rollout_id:
            if _makes_way(current, version):
                self.take_back(current.id, f"{version} came before any shopper had met {current.version}")
            require_none(self.serving)
            check_release(self.registry, self.bundles, self.cache, version)
            claim(self.serving, *self._new_record(rollout_id, version, wanted))
        else:
            require_not_ended(current)
        # Step Functions takes whole seconds from 1 up.
        return {
            "look_s": max(1, round(wanted.look_s)),
            "approval_s": max(1, round(wanted.approval_s)),
            "ask": wanted.approval_s > 0,
            "immediate": wanted.stages[0].kind is StageKind.WARM,
        }

    def enter(self, rollout_id: str) -> dict[str, Any]:
        """Bring the route to the stage that the record is in.

        Raises:
            RouteRefused: somebody else changed the route.
        """
        record = self._running(rollout_id)
        if record.current_stage.kind is StageKind.WARM:
            return self.promote(rollout_id)
        if self._route(record, Status.RUNNING, route_of_stage):
            settled = self.clock() + record.plan.limits.settle_s
            update(self.serving, rollout_id, lambda found: replace(found, stage_since=settled))
        return {"stage": record.current_stage.name}

    def look(self, rollout_id: str) -> dict[str, Any]:
        """Judge the stage, write the look down, and go to the next stage where the answer says so."""
        record = self._running(rollout_id)
        now = self.clock()
        if not self._is_ours(record):
            raise RouteRefused(
                f"the route was changed by somebody else while {record.id} ran", remedy="see `recsys release status`"
            )
        evidence = self.evidence.collect(record, now)
        following = record.plan.stages[record.stage + 1 : record.stage + 2]
        judgement = judge(
            record.current_stage,
            now - record.stage_since,
            evidence,
            record.plan,
            offline_passed=record.offline_passed,
            is_last_test=bool(following) and following[0].kind is StageKind.WARM,
        )
        update(self.serving, rollout_id, lambda found: _looked(found, record.stage, judgement, now))
        return {
            "answer": str(judgement.answer),
            "reason": judgement.reason,
            "warm": record.current_stage.kind is StageKind.WARM,
        }

    def ask(self, rollout_id: str, token: str) -> dict[str, Any]:
        """Tell people that an approval is waited for; `approve` sends the answer to Step Functions by the token."""
        record = update(self.serving, rollout_id, lambda found: replace(found, approval_token=token))
        self.tell(
            f"{record.version} waits for approval",
            f"Rollout {rollout_id} passed its tests: {record.looks[-1].reason if record.looks else 'no look'}. "
            f"Run `recsys rollout approve` within {in_words(record.plan.approval_s)}; "
            "without an answer it is taken back.",
        )
        return {"asked": True}

    def promote(self, rollout_id: str) -> dict[str, Any]:
        """Let the version answer everybody, then make it champion; the former bundle stays warm."""
        record = self._running(rollout_id)
        now, last = self.clock(), len(record.plan.stages) - 1
        settled = now + record.plan.limits.settle_s

        def promoted(found: RolloutRecord) -> RolloutRecord:
            if found.promoted_at is not None:
                return found
            return replace(found, stage=last, stage_since=settled, promoted_at=now, approval_token=None)

        # Route and stage in one write, or a repeated `enter` of the stage before would undo the promotion.
        self._route(record, Status.RUNNING, route_of_everybody, promoted)
        self._align_pointer(record, f"rollout {record.id}")
        self._running(rollout_id)
        record = update(self.serving, rollout_id, promoted)
        self.tell(f"{record.version} answers everybody", _last_reason(record))
        return {"stage": record.current_stage.name}

    def finish(self, rollout_id: str) -> dict[str, Any]:
        """End a rollout that went well."""
        now = self.clock()
        record = update(
            self.serving,
            rollout_id,
            lambda found: (
                found
                if found.status is not Status.RUNNING
                else replace(found, status=Status.PROMOTED, ended_at=now, reason=_last_reason(found))
            ),
        )
        return {"status": str(record.status)}

    def take_back(self, rollout_id: str, reason: str = "") -> dict[str, Any]:
        """Everybody gets the former champion again; the pointer follows where it had moved. May be run at any time.

        A route that somebody else has changed is left alone, and the rollout ends as failed, for a person to look at.
        """
        record = current_rollout(self.serving)
        if record is None or record.id != rollout_id:
            self.tell(f"{rollout_id} did not start", reason)
            return {"status": "unknown"}
        if record.status in ENDED:
            return {"status": str(record.status)}
        if not reason or _is_ended_by_look(record):
            reason = _last_reason(record)
        undecided = _is_undecided(record) and record.promoted_at is None
        record = update(
            self.serving,
            rollout_id,
            lambda found: (
                replace(found, status=Status.TAKING_BACK, reason=found.reason or reason)
                if found.status is Status.RUNNING
                else found
            ),
        )
        status, reason, now = Status.UNDECIDED if undecided else Status.ROLLED_BACK, record.reason, self.clock()
        try:
            self._route(record, Status.TAKING_BACK, route_of_former)
            self._align_pointer(record, reason)
        except RouteRefused as refusal:
            status, reason = Status.FAILED, f"{reason}; {refusal}"
        record = update(
            self.serving,
            rollout_id,
            lambda found: (
                found
                if found.status in ENDED
                else replace(found, status=status, reason=reason, ended_at=now, approval_token=None)
            ),
        )
        self.tell(f"{record.version} was taken back" if status is not Status.FAILED else f"{record.id} failed", reason)
        return {"status": str(record.status), "reason": record.reason}

    def answer(self, rollout_id: str, approval: str, reason: str) -> RolloutRecord:
        """Write down what a person says to a version that waits for approval, ``yes`` or ``no``.

        Raises:
            RolloutRefused: nobody is asked.
        """
        record, now = self._running(rollout_id), self.clock()
        if record.approval_token is None:
            raise RolloutRefused(
                f"{record.version} does not wait for approval, it is in stage {record.current_stage.name}",
                remedy="`recsys rollout abort` takes it back at any time",
            )

        def changed(found: RolloutRecord) -> RolloutRecord:
            if approval == "no":
                found = found.with_look(Look(now, found.current_stage.name, str(Answer.ABORT), reason, {}))
            return replace(found, approval=approval)

        return update(self.serving, rollout_id, changed)

    def _new_record(self, rollout_id: str, version: str, plan: RolloutPlan) -> tuple[RolloutRecord, RoutingRecord]:
        """The record of a new rollout, and the route that it begins with."""
        registered = self.registry.get(Version.parse(version))
        target, now = target_of(registered), self.clock()
        route = read_routing(self.serving)
        if route is None:
            raise RolloutRefused(
                f"nothing is live, so {version} has nothing to stand beside",
                remedy="release the first model with `recsys release start --strategy immediate`",
            )
        live = route.champion.target
        if (live.version, live.checksum) == (target.version, target.checksum):
            raise RolloutRefused(f"{version} answers already", remedy="name another version")
        if len(route.variants) > 1 or route.shadow is not None:
            raise RolloutRefused(
                "something else is being tried on the route",
                remedy="end it with `recsys release promote` or `recsys release rollback`",
            )
        record = RolloutRecord(
            id=rollout_id,
            version=version,
            target=target,
            former=live,
            plan=plan,
            stage=0,
            stage_since=now,
            started_at=now,
            route_revision=route.revision,
            offline_passed=registered.status is not VersionStatus.REFUSED,
        )
        return record, route

    def _running(self, rollout_id: str) -> RolloutRecord:
        record = running_rollout(self.serving)
        if record is None or record.id != rollout_id or record.status is not Status.RUNNING:
            raise RolloutRefused(f"rollout {rollout_id} does not run (any more)", remedy="see `recsys rollout status`")
        return record

    def _is_ours(self, record: RolloutRecord) -> bool:
        route = read_routing(self.serving)
        return route is not None and route.revision == record.route_revision

    def _route(
        self,
        record: RolloutRecord,
        status: Status,
        step: Callable[[RoutingRecord, RolloutRecord, int], RoutingRecord | None],
        note: Callable[[RolloutRecord], RolloutRecord] = lambda found: found,
    ) -> bool:
        """Rewrite the route by ``step`` while the rollout has ``status``, and note the revision written in its record.

        ``step`` gets the route, the rollout as it stands by now, and the time; ``note`` changes the record in the same
        write.

        Returns:
            Whether the route changed.

        Raises:
            RouteRefused: somebody else changed the route.
            RolloutRefused: the rollout has another status by now.
            RolloutConflict: another rollout has begun, or other processes wrote route or record at every attempt.
        """
        for _ in range(ATTEMPTS):
            found, route = current_rollout(self.serving), read_routing(self.serving)
            if found is None or found.id != record.id:
                raise RolloutConflict(f"rollout {record.id} is not the newest one; see `recsys rollout status`")
            if found.status in ENDED:
                return False
            if found.status is not status:
                raise RolloutRefused(f"rollout {record.id} was taken back meanwhile: {found.reason}")
            if route is None or route.revision != found.route_revision:
                if current_rollout(self.serving) != found:
                    continue
                told = "there is none" if route is None else f"it has revision {route.revision}"
                raise RouteRefused(
                    f"the route is not as rollout {record.id} left it (revision {found.route_revision}): {told}",
                    remedy="see `recsys release status`",
                )
            planned = step(route, found, int(self.clock()))
            if planned is None:
                return False
            if write_with_route(self.serving, found, note(found), route.revision, planned):
                return True
        raise RolloutConflict(f"rollout {record.id} was rewritten {ATTEMPTS} times meanwhile; find out by whom")

    def _align_pointer(self, record: RolloutRecord, reason: str) -> None:
        """Make the version that the route calls champion the registry's, where both are versions of this rollout.

        The route is read again after every move: whoever moves last has seen the last route.

        Raises:
            ChampionMoved: other processes moved the pointer at every attempt.
        """
        ours, former = {record.version, record.former.version}, Version.parse(record.former.version)
        for _ in range(ATTEMPTS):
            route, champion = read_routing(self.serving), self.registry.champion()
            wanted = "" if route is None else route.champion.target.version
            pointed = None if champion is None else champion.version
            if wanted not in ours or str(pointed) == wanted or str(pointed or wanted) not in ours:
                return
            with suppress(ChampionMoved):  # decided anew
                moves = self.registry.history()
                if pointed is not None and wanted == str(former) and moves and moves[-1].fallback == former:
                    self.registry.rollback(pointed, reason)
                else:
                    self.registry.promote(Version.parse(wanted), pointed, reason)
        raise ChampionMoved(f"the champion was moved {ATTEMPTS} times while {record.id} made it follow the route")


def require_room(serving: Table, version: str) -> None:
    """Raises `AnotherRolloutRuns` where a rollout of ``version`` could not begin because another one runs."""
    if not _makes_way(current_rollout(serving), version):
        require_none(serving)


def _makes_way(current: RolloutRecord | None, version: str) -> TypeGuard[RolloutRecord]:
    """Whether a running rollout is replaced by that of another version."""
    if current is None or current.status is not Status.RUNNING:
        return False
    return not current.has_met_shoppers and current.version != version


def _looked(record: RolloutRecord, stage: int, judgement: Judgement, now: float) -> RolloutRecord:
    """The record after a look at ``stage``; a repeated look of a stage that was left changes nothing."""
    if record.stage != stage:
        return record
    look = Look(now, record.current_stage.name, str(judgement.answer), judgement.reason, dict(judgement.figures))
    if judgement.undecided:
        look = replace(look, figures={**look.figures, "undecided": True})
    record = record.with_look(look)
    if judgement.answer is Answer.ADVANCE:
        return replace(record, stage=stage + 1, stage_since=now)
    return record


def _is_undecided(record: RolloutRecord) -> bool:
    return bool(record.looks) and record.looks[-1].figures.get("undecided") is True


def _is_ended_by_look(record: RolloutRecord) -> bool:
    """Whether the newest look said to end it, so that its reason counts rather than how the machine put it."""
    return bool(record.looks) and record.looks[-1].answer == Answer.ABORT


def _last_reason(record: RolloutRecord) -> str:
    return record.looks[-1].reason if record.looks else ""
