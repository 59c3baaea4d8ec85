"""Decides whether the routing record may change, and rewrites it.

It never adds or removes a challenger; see ``strategies``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from lambda_api.errors import RecsysError
from lambda_api.state.routing_record import (
    HOLDOUT,
    WHOLE,
    RouteTarget,
    RoutingConflict,
    RoutingRecord,
    Variant,
    read_routing,
    write_routing,
)
from lambda_api.state.table import Key, Table
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_assets.registry.records import ModelVersion

CHAMPION: Final = "champion"
"""Name of the variant that answers everybody while nothing is being tried."""

NO_EXPERIMENT: Final = "none"
"""Experiment and salt of the first record: with one variant nobody is divided, so neither matters yet."""

ATTEMPTS: Final = 5

ROLLOUT_KEY: Final = Key("rollout", "current")
"""Where `recsys_deploy.rollout` keeps the newest rollout; its ``status`` tells whether it has ended."""

UNDER_WAY: Final = frozenset({"running", "taking back"})
"""Statuses of a rollout that has not ended."""

Step = Callable[[RoutingRecord | None], RoutingRecord | None]
"""From the record as it is (``None``: there is none) to the next; ``None``: it stays."""


class RouteRefused(RecsysError):
    """The route was not touched; the message says why and what to do."""


class Move(StrEnum):
    """What became of the route."""

    ROUTED = "routed"
    ALREADY_ROUTED = "already routed"
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class Routing:
    """The record as it stands now, what was done, and why, in a sentence."""

    record: RoutingRecord | None
    move: Move
    reason: str


def route_champion(registry: ModelRegistry, serving: Table, checked_version: str, now: int) -> Routing:
    """Send every shopper to the champion, if it is the version that was checked and nothing is being tried.

    Experiment and salt stay, so nobody changes groups. Repeating it changes nothing. A checked version that is not
    the champion (any more) moves nothing: the run that checks the champion does.

    Args:
        registry: names the champion and its bundle.
        serving: the table of the routing record.
        checked_version: the version that ``release_candidate`` checked last.
        now: seconds since 1970 UTC.

    Raises:
        RouteRefused: there is no champion, a rollout is in progress, or others wrote the record at every attempt.
        MalformedRecord: the record cannot be read.
        TableUnavailable: the table could not be asked.
    """
    require_no_rollout(serving)
    champion: ModelVersion | None = None

    def follow(current: RoutingRecord | None) -> RoutingRecord | None:
        # After the record: whoever moves the champion after this moves the record after us, and their write counts.
        nonlocal champion
        champion = registry.champion()
        if champion is None:
            raise RouteRefused(
                "no model was promoted yet, so there is nothing to route to; materialise registered_model"
            )
        return plan_route(current, target_of(champion), now) if str(champion.version) == checked_version else None

    before, after = rewrite_route(serving, follow)
    assert champion is not None
    if str(champion.version) != checked_version:
        checked = f"{checked_version} was checked, but the champion is {champion.version}"
        return Routing(before, Move.SUPERSEDED, f"{checked}; the run that checks {champion.version} routes it")
    if after is None:
        return Routing(before, Move.ALREADY_ROUTED, f"{champion.version} answers already")
    live = "nobody" if before is None else before.champion.target.version
    return Routing(after, Move.ROUTED, f"{champion.version} answers every shopper now; before it {live} did")


def hold_out(serving: Table, share: float, now: int) -> RoutingRecord:
    """Let ``share`` (0 to 0.2) of the shoppers keep the version that is champion now, or that others keep already.

    0 ends it: these shoppers get what everybody gets.

    Raises:
        RouteRefused: nothing is live, a rollout is in progress, or other processes wrote the record at every attempt.
        ValueError: a share that is not allowed.
    """
    require_no_rollout(serving)

    def held(current: RoutingRecord | None) -> RoutingRecord | None:
        if current is None:
            raise RouteRefused("nothing is live, so there is no version to keep; release one first")
        target = (current.holdout or current.champion).target
        holdout = Variant(HOLDOUT, target, round(share * WHOLE)) if share else None
        if holdout == current.holdout:
            return None
        return next_record(current, now, holdout=holdout)

    before, after = rewrite_route(serving, held)
    found = after or before
    assert found is not None
    return found


def require_no_rollout(serving: Table) -> None:
    """Refuse a move by hand while a rollout moves the route.

    Raises:
        RouteRefused: one is under way.
    """
    found = serving.get(ROLLOUT_KEY)
    if found is not None and found.attributes.get("status") in UNDER_WAY:
        raise RouteRefused(
            f"{found.attributes.get('version')} is being rolled out ({found.attributes.get('id')}), and the rollout "
            "moves the route",
            remedy="wait for it, or end it with `recsys rollout abort`",
        )


def rewrite_route(serving: Table, step: Step) -> tuple[RoutingRecord | None, RoutingRecord | None]:
    """Replace the routing record by the result of ``step``, which is called again where another process wrote first.

    Returns:
        The record before and after; the second is ``None`` where ``step`` gave none, and nothing was written.

    Raises:
        RouteRefused: by ``step``, or other processes wrote the record at every attempt.
        MalformedRecord: the record cannot be read.
        TableUnavailable: the table could not be asked.
    """
    for _ in range(ATTEMPTS):
        current = read_routing(serving)
        planned = step(current)
        if planned is None:
            return current, None
        try:
            write_routing(serving, planned, None if current is None else current.revision)
        except RoutingConflict:
            continue
        return current, planned
    raise RouteRefused(f"the routing record was rewritten {ATTEMPTS} times meanwhile; find out by whom, then run again")


def plan_route(current: RoutingRecord | None, target: RouteTarget, now: int) -> RoutingRecord | None:
    """The record that sends everybody to ``target``; ``None`` where ``current`` does already.

    Raises:
        RouteRefused: ``current`` has challengers or a shadow, and its champion is another version.
    """
    if current is None:
        variants = (Variant(CHAMPION, target, WHOLE),)
        return RoutingRecord(NO_EXPERIMENT, NO_EXPERIMENT, variants, shadow=None, revision=1, updated_at=now)
    champion = current.champion
    if (champion.target.version, champion.target.checksum) == (target.version, target.checksum):
        # The same version; which endpoint serves it is not decided here.
        target = replace(target, endpoint=champion.target.endpoint)
    if champion.target == target:
        return None
    beside = [f"challenger {variant.target.version}" for variant in current.variants[1:]]
    beside += [f"shadow {current.shadow.version}"] if current.shadow else []
    if beside:
        raise RouteRefused(
            f"a rollout is in progress ({', '.join(beside)} beside champion {champion.target.version}), so the route "
            f"was not moved to {target.version}; end or roll back the rollout first, then run set_live_route_job"
        )
    return next_record(current, now, variants=(replace(champion, target=target, weight=WHOLE),))


def next_record(current: RoutingRecord, now: int, **changes: Any) -> RoutingRecord:
    """The record that follows ``current``: its revision is one higher, ``changes`` are other fields of it."""
    return replace(current, revision=current.revision + 1, updated_at=now, **changes)


def target_of(version: ModelVersion) -> RouteTarget:
    """The registered version as serving finds it; scored in the process that answers."""
    return RouteTarget(str(version.version), version.bundle_uri, version.bundle_checksum)
