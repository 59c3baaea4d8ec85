"""The route that a stage of a rollout wants. Pure: route and record in, the next route out.

Each function gets the route, the rollout, and the time (seconds since 1970 UTC), and gives ``None`` where the route is
as it should be already.
"""

from dataclasses import replace

from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant
from recsys_deploy.release.route import CHAMPION, NO_EXPERIMENT
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
        return _next(route, replace(route, shadow=record.target, variants=variants, interleaved=False), now)
    wanted = replace(
        route,
        experiment=record.id,
        salt=record.id,
        shadow=None,
        interleaved=stage.kind is StageKind.INTERLEAVING,
        variants=(
            Variant(CHAMPION, record.former, WHOLE - stage.weight),
            Variant(CHALLENGER, record.target, stage.weight),
        ),
    )
    return _next(route, wanted, now)


def route_of_everybody(route: RoutingRecord, record: RolloutRecord, now: int) -> RoutingRecord | None:
    """The new version alone."""
    return _alone(route, record.target, now)


def route_of_former(route: RoutingRecord, record: RolloutRecord, now: int) -> RoutingRecord | None:
    """The former champion alone."""
    return _alone(route, record.former, now)


def _alone(route: RoutingRecord, target: RouteTarget, now: int) -> RoutingRecord | None:
    """One version for everybody, under no experiment's name: lists shown from now on belong to none."""
    variants = (Variant(CHAMPION, target, WHOLE),)
    wanted = replace(
        route, experiment=NO_EXPERIMENT, salt=NO_EXPERIMENT, variants=variants, shadow=None, interleaved=False
    )
    return _next(route, wanted, now)


def _next(route: RoutingRecord, wanted: RoutingRecord, now: int) -> RoutingRecord | None:
    return None if wanted == route else replace(wanted, revision=route.revision + 1, updated_at=now)
