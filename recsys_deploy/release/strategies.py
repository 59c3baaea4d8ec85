"""Ways of putting a version in front of shoppers, each as a step from one routing record to the next.

=========== ======================================== ============================ ==========================
strategy    after `begin`                            after `promote`              after `withdraw`
=========== ======================================== ============================ ==========================
canary      a share of shoppers meets the challenger everybody meets it           everybody meets the champion
blue-green  everybody with an id meets it, the       everybody meets it           everybody meets the champion,
            champion stays loaded with weight 0                                   without waiting for a fetch
shadow      asked after the reply, seen by nobody    everybody meets it           nobody asks it any more
immediate   everybody meets it; nothing to promote   -                            -
=========== ======================================== ============================ ==========================

Who meets a challenger at 10 % meets it at 50 % too (``lambda_api.serving.routing``). Visitors without any id stay with
the champion until the promotion.
"""

from enum import StrEnum
from typing import Final

from lambda_api.state.routing_record import WHOLE, RouteTarget, RoutingRecord, Variant
from recsys_deploy.release.route import CHAMPION, RouteRefused, next_record, plan_route

CHALLENGER: Final = "challenger"


class Strategy(StrEnum):
    """How a version meets its first shoppers."""

    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    SHADOW = "shadow"
    IMMEDIATE = "immediate"


def begin(
    current: RoutingRecord | None, target: RouteTarget, strategy: Strategy, share: float, now: int
) -> RoutingRecord | None:
    """The record with which ``target`` starts; ``None`` where ``current`` says so already.

    A new canary or blue-green try takes the version as its salt, so that its shoppers are drawn anew.

    Args:
        share: of shoppers in a canary, above 0 and below 1. Other strategies ignore it.
        now: seconds since 1970 UTC.

    Raises:
        RouteRefused: nothing is live yet (only an immediate start makes sense then), ``target`` is live already,
            another version is being tried, or the share is none.
    """
    if strategy is Strategy.IMMEDIATE:
        return plan_route(current, target, now)
    if current is None:
        raise RouteRefused(
            f"nothing is live yet, so a {strategy} start has nothing to stand beside; use --strategy immediate"
        )
    champion = current.champion.target
    if (champion.version, champion.checksum) == (target.version, target.checksum):
        raise RouteRefused(f"{target.version} answers already; register another version, or name one")
    tried = _tried(current)
    if tried == target and strategy is _strategy(current):
        wanted = _weight(strategy, share)
        return None if wanted in (None, current.variants[-1].weight) else change_share(current, share, now)
    if tried is not None:
        raise RouteRefused(
            f"{tried.version} is being tried ({_strategy(current)}) beside champion {champion.version}; "
            "run `recsys release promote` or `recsys release rollback` first"
        )
    if strategy is Strategy.SHADOW:
        return next_record(current, now, shadow=target)
    weight = _weight(strategy, share)
    assert weight is not None
    name = f"release-{target.version}"
    return next_record(current, now, experiment=name, salt=name, variants=_variants(champion, target, weight))


def change_share(current: RoutingRecord | None, share: float, now: int) -> RoutingRecord:
    """The record in which the challenger has ``share`` of shoppers, above 0 and at most 1.

    Raises:
        RouteRefused: no challenger is being tried, or the share is none.
    """
    if current is None or len(current.variants) != 2:
        raise RouteRefused("no challenger is being tried; `recsys release start --strategy canary` starts one")
    champion, challenger = (variant.target for variant in current.variants)
    variants = _variants(champion, challenger, _ten_thousandths(share, allow_all=True))
    return next_record(current, now, variants=variants)


def promote(current: RoutingRecord | None, now: int) -> RoutingRecord:
    """The record in which the version that is being tried answers everybody, and nothing is tried any more.

    Raises:
        RouteRefused: nothing is being tried.
    """
    tried = None if current is None else _tried(current)
    if current is None or tried is None:
        raise RouteRefused("nothing is being tried that could be promoted; `recsys release start` starts something")
    return _alone(current, tried, now)


def withdraw(current: RoutingRecord | None, now: int) -> RoutingRecord | None:
    """The record without what is being tried: the champion answers everybody. ``None`` where nothing is tried."""
    if current is None or _tried(current) is None:
        return None
    return _alone(current, current.champion.target, now)


def tried_version(current: RoutingRecord | None) -> str | None:
    """The version beside the champion, as challenger or in the shadow; ``None`` for none."""
    tried = None if current is None else _tried(current)
    return None if tried is None else tried.version


def _alone(current: RoutingRecord, target: RouteTarget, now: int) -> RoutingRecord:
    variants = (Variant(CHAMPION, target, WHOLE),)
    return next_record(current, now, variants=variants, shadow=None, interleaved=False)


def _variants(champion: RouteTarget, challenger: RouteTarget, weight: int) -> tuple[Variant, ...]:
    return Variant(CHAMPION, champion, WHOLE - weight), Variant(CHALLENGER, challenger, weight)


def _tried(current: RoutingRecord) -> RouteTarget | None:
    if len(current.variants) > 2:
        raise RouteRefused(
            f"{len(current.variants) - 1} challengers are being compared in experiment {current.experiment}; "
            "a release tries one at a time: end the experiment first"
        )
    return current.variants[1].target if len(current.variants) == 2 else current.shadow


def _strategy(current: RoutingRecord) -> Strategy:
    if len(current.variants) == 1:
        return Strategy.SHADOW
    return Strategy.BLUE_GREEN if current.variants[1].weight == WHOLE else Strategy.CANARY


def _weight(strategy: Strategy, share: float) -> int | None:
    if strategy is Strategy.SHADOW:
        return None
    return WHOLE if strategy is Strategy.BLUE_GREEN else _ten_thousandths(share)


def _ten_thousandths(share: float, *, allow_all: bool = False) -> int:
    weight = round(share * WHOLE)
    if not 0 < weight <= (WHOLE if allow_all else WHOLE - 1):
        raise RouteRefused(
            f"a share of {share:.4%} is none: give more than 0 and {'at most' if allow_all else 'less than'} 100 %"
        )
    return weight
