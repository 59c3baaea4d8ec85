"""The state of the one rollout that may run, kept in the table ``serving`` beside the routing record.

========================  ================  ==========================================
partition                 sort              attributes
========================  ================  ==========================================
``rollout``               ``current``       `RolloutRecord` of the newest rollout
``rollout_history``       rollout id        `RolloutRecord` of each one that has ended
========================  ================  ==========================================
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter

from lambda_api.errors import RecsysError
from lambda_api.state.routing_record import ROUTING_KEY, RouteTarget, RoutingRecord
from lambda_api.state.table import Absent, ConditionFailed, Key, Matches, Put, Table, Write
from recsys_deploy.release.route import ROLLOUT_KEY, UNDER_WAY
from recsys_deploy.rollout.plan import RolloutPlan, Stage, plan_from_json

CURRENT: Final = ROLLOUT_KEY
HISTORY: Final = "rollout_history"
LOOKS_KEPT: Final = 200
ATTEMPTS: Final = 5


class RolloutConflict(RecsysError):
    """Another rollout runs, or somebody changed this one meanwhile."""


class AnotherRolloutRuns(RolloutConflict):
    """There is one place for a rollout, and it is taken; the state machine waits for it."""


class Status(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    TAKING_BACK = "taking back"
    """A rollback has begun: nothing else may move the route or the pointer for this rollout."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    UNDECIDED = "undecided"
    """The champion stays, because the evidence did not decide in time."""
    FAILED = "failed"
    """It could not be taken back by itself; a person has to look."""


ENDED: Final = frozenset(status for status in Status if status.value not in UNDER_WAY)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running rollout.

    Attributes:
        at: seconds since 1970 UTC. stage: name of the stage.
        answer: ``hold``, ``advance``, ``abort`` or ``promote``. reason: one sentence.
        figures: what it rests on; JSON-able.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    at: float
    stage: str
    answer: str
    reason: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """A rollout.

    Attributes:
        id: also the name of its execution, its experiment and its salt: a second try draws shoppers anew.
        version: registered version that is rolled out. target, former: as the route knows them.
        stage: index into the plan's stages. stage_since: seconds since 1970 UTC.
        route_revision: of the routing record as this rollout wrote it last; 0 before.
        promoted_at: when it began to answer everybody; ``None`` before.
        offline_passed: the promotion rules allowed the version.
        approval_token: of Step Functions, while a person is asked. approval: their answer, ``yes`` or ``no``.
        revision: grows with every write of this record.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    id: str
    version: str
    target: RouteTarget
    former: RouteTarget
    plan: RolloutPlan
    stage: int
    stage_since: float
    started_at: float
    route_revision: int = 0
    promoted_at: float | None = None
    offline_passed: bool = True
    status: Status = Status.RUNNING
    reason: str = ""
    ended_at: float | None = None
    approval_token: str | None = None
    approval: str = ""
    looks: tuple[Look, ...] = ()
    revision: int = 1

    @property
    def current_stage(self) -> Stage:
        """The stage it is in."""
        return self.plan.stages[self.stage]

    @property
    def has_met_shoppers(self) -> bool:
        """Whether any shopper saw its lists."""
        return self.stage > 0 or self.current_stage.weight > 0

    def with_look(self, look: Look) -> "RolloutRecord":
        """The record with one more look; only the newest are kept."""
        return replace(self, looks=(*self.looks, look)[-LOOKS_KEPT:])

    def to_json(self) -> dict[str, Any]:
        """A plain dict; `record_from_json` reads it back."""
        return {**_RECORD.dump_python(self, mode="json"), "plan": self.plan.to_json()}


_RECORD = TypeAdapter(RolloutRecord)


def record_from_json(value: Mapping[str, Any]) -> RolloutRecord:
    """Inverse of `RolloutRecord.to_json`."""
    return _RECORD.validate_python({**value, "plan": plan_from_json(value["plan"])})


def current_rollout(serving: Table) -> RolloutRecord | None:
    """The rollout that runs, or the newest that ran; ``None`` where there was none."""
    found = serving.get(CURRENT)
    return None if found is None else record_from_json(found.attributes)


def running_rollout(serving: Table) -> RolloutRecord | None:
    """The rollout that has not ended, if there is one."""
    found = current_rollout(serving)
    return found if found is not None and found.status not in ENDED else None


def past_rollouts(serving: Table) -> list[RolloutRecord]:
    """Every rollout that has ended, oldest first."""
    found = [record_from_json(record.attributes) for record in serving.query(HISTORY)]
    return sorted(found, key=lambda record: record.started_at)


def claim(serving: Table, record: RolloutRecord, route: RoutingRecord) -> RolloutRecord:
    """Make ``record`` the running rollout, while the route is as it begins with.

    Raises:
        RolloutConflict: another one runs, this id has been used, or the route changed meanwhile.
    """
    found = require_none(serving)
    if found is not None and found.id == record.id:
        require_not_ended(found)
    claimed = replace(record, revision=1 if found is None else found.revision + 1)
    _put(serving, found, claimed, [Put(ROUTING_KEY, route.to_json(), condition=Matches({"revision": route.revision}))])
    return claimed


def require_not_ended(record: RolloutRecord) -> None:
    """Raises `RolloutConflict` where a rollout has ended: its name is not used again."""
    if record.status in ENDED:
        raise RolloutConflict(f"rollout {record.id} has ended ({record.status}); start another under a new name")


def require_none(serving: Table) -> RolloutRecord | None:
    """The newest rollout, which has ended, or ``None``. Raises `AnotherRolloutRuns` while it has not."""
    found = current_rollout(serving)
    if found is not None and found.status not in ENDED:
        raise AnotherRolloutRuns(
            f"{found.version} is being rolled out ({found.id}, stage {found.current_stage.name})",
            remedy="wait for it, or end it with `recsys rollout abort`",
        )
    return found


def update(serving: Table, rollout_id: str, change: Callable[[RolloutRecord], RolloutRecord]) -> RolloutRecord:
    """Rewrite the running rollout, deciding again where another process wrote first; an ended one goes to the history.

    Raises:
        RolloutConflict: it is not the newest rollout (any more), or other processes wrote it at every attempt.
    """
    for _ in range(ATTEMPTS):
        found = current_rollout(serving)
        if found is None or found.id != rollout_id:
            raise RolloutConflict(f"rollout {rollout_id} is not the newest one; see `recsys rollout status`")
        changed = change(found)
        if changed == found:
            return found
        changed = replace(changed, revision=found.revision + 1)
        try:
            _put(serving, found, changed)
        except RolloutConflict:
            continue
        return changed
    raise RolloutConflict(f"rollout {rollout_id} was rewritten {ATTEMPTS} times meanwhile; look who does, then repeat")


def write_with_route(
    serving: Table, found: RolloutRecord, changed: RolloutRecord, route_revision: int, planned: RoutingRecord
) -> bool:
    """Replace the route of ``route_revision``, and ``found`` by ``changed`` with the new revision, both or neither.

    Returns:
        ``False`` where route or rollout changed meanwhile; nothing was written.
    """
    noted = replace(changed, route_revision=planned.revision, revision=found.revision + 1)
    writes = [
        Put(ROUTING_KEY, planned.to_json(), condition=Matches({"revision": route_revision})),
        Put(CURRENT, noted.to_json(), condition=Matches({"revision": found.revision})),
    ]
    try:
        serving.write(writes)
    except ConditionFailed:
        return False
    return True


def _put(serving: Table, found: RolloutRecord | None, record: RolloutRecord, others: Sequence[Write] = ()) -> None:
    condition = Absent() if found is None else Matches({"revision": found.revision})
    writes: list[Write] = [Put(CURRENT, record.to_json(), condition=condition), *others]
    if record.status in ENDED:
        writes.append(Put(Key(HISTORY, record.id), record.to_json()))
    try:
        serving.write(writes)
    except ConditionFailed as failure:
        raise RolloutConflict("another rollout was started, or this one or the route changed, meanwhile") from failure
