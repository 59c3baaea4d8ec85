"""The route that a stage of a rollout wants. Pure: route and record in, the next route out.

Each function gets the route, the rollout, and the time (seconds since 1970 UTC), and gives ``None`` where the route is
as it should be already.
"""

from dataclasses import replace
from typing import Any

from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant
from recsys_deploy.release.route import CHAMPION, NO_EXPERIMENT, next_record
from recsys_deploy.release.strategies import CHALLENGER
from recsys_deploy.rollout.plan import StageKind
from recsys_deploy.rollout.record import RolloutRecord


def route_of_stage(route: RoutingRecord, record: RolloutRecord, now: int) -> RoutingRecord | None:
    """The route of the stage that the rollout is in."""
    stage = record.current_stage
    if stage.kind is StageKind.WARM:
        return route_of_everybody(route, record, now)
    if stage.kind is StageKind.SHADOW:
        variants = (Variant(CHAMPION, record.former, WHOLE),)
        return _next(route, now, shadow=record.target, variants=variants, interleaved=False)
    return _next(
        route,
        now,
        experiment=record.id,
        salt=record.id,
        shadow=None,
        interleaved=stage.kind is StageKind.INTERLEAVING,
        variants=(
            Variant(CHAMPION, record.former, WHOLE - stage.weight),
            Variant(CHALLENGER, record.target, stage.weight),
        ),
    )


def route_of_everybody(route: RoutingRecord, record: RolloutRecord, now: int) -> RoutingRecord | None:
    """The new version alone."""
    return _alone(route, record.target, now)


def route_of_former(route: RoutingRecord, record: RolloutRecord, now: int) -> RoutingRecord | None:
    """The former champion alone."""
    return _alone(route, record.former, now)


def _alone(route: RoutingRecord, target: RouteTarget, now: int) -> RoutingRecord | None:
    """One version for everybody, under no experiment's name: lists shown from now on belong to none."""
    variants, name = (Variant(CHAMPION, target, WHOLE),), NO_EXPERIMENT
    return _next(route, now, experiment=name, salt=name, variants=variants, shadow=None, interleaved=False)


def _next(route: RoutingRecord, now: int, **wanted: Any) -> RoutingRecord | None:
    return None if replace(route, **wanted) == route else next_record(route, now, **wanted)
