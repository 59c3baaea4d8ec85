"""What a look rests on, read from the event stream and, on AWS, from the alarms.

The stream is the same on a laptop and on AWS, so one reader serves both. Only triggers that stand on their own differ:
a laptop computes error rate and latency from the newest lists, AWS has CloudWatch alarms for them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from sys import intern
from typing import Any, Protocol

import numpy as np

from lambda_api.serving.routing import bucket
from lambda_api.state.event_sink import Kind
from lambda_api.state.exposures import Exposure, ShownItem, has_failed, is_replaced
from lambda_api.state.history import StoredEvent
from lambda_api.state.routing_record import WHOLE
from recsys_assets.event_stream import event_of, exposure_of, read_records
from recsys_deploy.experiments.comparison import compare
from recsys_deploy.experiments.inference import Lift, ratio_lift
from recsys_deploy.experiments.totals import DAY_MS, Scope, Shoppers, first_seen, shoppers_of
from recsys_deploy.release.route import CHAMPION
from recsys_deploy.release.strategies import CHALLENGER
from recsys_deploy.rollout.judge import Answers, Evidence
from recsys_deploy.rollout.plan import StageKind
from recsys_deploy.rollout.record import RolloutRecord

SHADOW = "shadow"
TRIGGERS = "rollback-"
"""Within the names of alarms that end a rollout; those of the machine and its function are called otherwise."""

ALARM_WINDOW_S = 300.0
ALARM_LEAST = 20
"""Answers within the alarm window below which nothing is concluded."""

_NOTHING: dict[str, Any] = {}

HISTORY_DAYS = 28
"""Days before the first list in which purchases count as the covariate of CUPED."""


class Alarms(Protocol):
    """Triggers that end a rollout whatever the champion does."""

    def sounding(self, record: RolloutRecord, recent: Sequence[Exposure]) -> tuple[str, ...]:
        """One sentence for each; ``recent``: lists of the version in the last `ALARM_WINDOW_S` seconds."""


@dataclass(frozen=True)
class LocalAlarms:
    """Error rate and latency of the newest lists, from the served log."""

    def sounding(self, record: RolloutRecord, recent: Sequence[Exposure]) -> tuple[str, ...]:
        """See `Alarms`."""
        if len(recent) < ALARM_LEAST:
            return ()
        limits = record.plan.limits
        failed = sum(has_failed(exposure, record.version) for exposure in recent) / len(recent)
        latency = float(np.mean([exposure.latency_ms for exposure in recent]))
        found = []
        if failed > limits.error_rate:
            found.append(
                f"{failed:.0%} of {len(recent)} answers failed within 5 minutes (limit {limits.error_rate:.0%})"
            )
        if latency > limits.latency_ms:
            found.append(f"answers took {latency:.0f} ms on average within 5 minutes (limit {limits.latency_ms:.0f})")
        return tuple(found)


@dataclass(frozen=True)
class CloudWatchAlarms:
    """Trigger alarms of CloudWatch (``terraform/modules/rollout``) that are sounding.

    Attributes:
        client: of CloudWatch. prefix: of the names of everything in the environment.
    """

    client: Any
    prefix: str

    def sounding(self, record: RolloutRecord, recent: Sequence[Exposure]) -> tuple[str, ...]:
        """See `Alarms`."""
        pages = self.client.get_paginator("describe_alarms").paginate(
            AlarmNamePrefix=f"{self.prefix}{TRIGGERS}", AlarmTypes=["MetricAlarm"]
        )
        found = [one for page in pages for one in page["MetricAlarms"] if one["StateValue"] == "ALARM"]
        return tuple(
            f"alarm {one['AlarmName']}: {one['StateReason']}" for one in found if concerns(one["AlarmName"], record)
        )


def concerns(alarm: str, record: RolloutRecord) -> bool:
    """Whether a trigger alarm of this name is about the version of ``record``, or about everybody.

    While a version is tried, alarms of the champion are not about it; once it answers everybody, it is the champion.
    """
    other = CHALLENGER if record.current_stage.kind is StageKind.WARM else CHAMPION
    return f"{TRIGGERS}{other}-" not in alarm


@dataclass(frozen=True)
class StreamEvidence:
    """Evidence of the event stream under ``root`` (a folder or ``s3://`` prefix).

    Attributes:
        read: records of a kind between two days; a parameter for tests.
    """

    root: str
    alarms: Alarms
    read: Callable[..., Iterable[Any]] = read_records

    def collect(self, record: RolloutRecord, now: float) -> Evidence:
        """What is known of the rollout's stage at ``now`` (seconds since 1970 UTC).

        Raises:
            OSError: the stream cannot be read.
        """
        stage, now_ms = record.current_stage, int(now * 1000)
        since_ms = int(record.stage_since * 1000)
        first = datetime.fromtimestamp(record.stage_since, UTC).date()
        products: dict[str, ShownItem] = {}
        exposures = [
            _compact(found, products)
            for one in self._records("exposure", first)
            if (found := exposure_of(one)) is not None
            and found.list_kind in ("recommend", "shadow")
            and since_ms <= found.at_ms < now_ms
        ]
        treated = [one for one in exposures if _is_treatment(one, record)]
        recent = [one for one in treated if one.at_ms >= now_ms - ALARM_WINDOW_S * 1000]
        evidence = Evidence(alarms=self.alarms.sounding(record, recent))
        if stage.kind is StageKind.WARM:
            return replace(evidence, treatment=_answers(treated, record.version, float("inf"), now_ms, len(treated)))
        if stage.kind is StageKind.SHADOW:
            asked = [one for one in exposures if one.variant == CHAMPION]
            return replace(
                evidence,
                control=_answers(asked, record.former.version, float("inf"), now_ms, 0),
                treatment=_answers(treated, record.version, float("inf"), now_ms, 0),
            )
        control = [one for one in exposures if one.experiment == record.id and one.variant == CHAMPION and one.user_id]
        slow = float(np.quantile([one.latency_ms for one in control], 0.95)) if control else float("inf")
        lists = min(len(control), len(treated))
        evidence = replace(
            evidence,
            control=_answers(control, record.former.version, slow, now_ms, lists),
            treatment=_answers(treated, record.version, slow, now_ms, lists),
        )
        return self._with_outcomes(evidence, record, exposures, now_ms)

    def _with_outcomes(
        self, evidence: Evidence, record: RolloutRecord, exposures: Sequence[Exposure], now_ms: int
    ) -> Evidence:
        limits, stage = record.plan.limits, record.current_stage
        since = datetime.fromtimestamp(record.stage_since, UTC).date()
        history = since - timedelta(days=HISTORY_DAYS) if stage.kind is StageKind.EXPERIMENT else since
        events = [found for one in self._records("feedback", history) if (found := event_of(one)) is not None]
        scope = scope_of(record, record.stage, int(record.stage_since * 1000), now_ms)
        evidence = replace(evidence, harm=harm_of(shoppers_of(exposures, events, scope, window_ms=None)))
        if stage.kind is not StageKind.EXPERIMENT:
            return evidence
        long = shoppers_of(
            exposures,
            events,
            scope,
            window_ms=int(limits.outcome_window_s * 1000),
            before=purchases_before(events, int(record.stage_since)),
        )
        days = (now_ms - record.stage_since * 1000) / DAY_MS
        if len(long.users) == 0:
            return replace(evidence, business_days=days)
        comparison = compare(long, first_seen(exposures, scope), 0.5, record.plan.business)
        return replace(evidence, business=comparison, business_days=days)

    def _records(self, kind: Kind, first: Any) -> Iterable[Any]:
        return self.read(self.root, kind, first)


def _compact(exposure: Exposure, products: dict[str, ShownItem]) -> Exposure:
    """What a look needs of a list, with texts and products shared between lists: a fifth of the memory.

    ``products``: one item per product, filled here.
    """
    items = tuple(
        products.setdefault(item.product_id, ShownItem(item.product_id, 0.0, 0, None, "")) for item in exposure.items
    )
    return replace(
        exposure,
        user_id=intern(exposure.user_id),
        experiment=intern(exposure.experiment),
        variant=intern(exposure.variant),
        model_version=intern(exposure.model_version),
        stage=intern(exposure.stage),
        items=items,
        context=_NOTHING,
    )


def harm_of(shoppers: Shoppers) -> dict[str, Lift]:
    """Lifts that a look at any share can judge: purchases per day since the first list, and clicks per list.

    Open windows use everything that is known. Their totals go on growing, which the theory of the interval does not
    cover; simulated rollouts without an effect keep its level (`benchmarks/rollouts.py`).
    """
    treated = shoppers.is_treatment
    control, treatment = shoppers.where(~treated), shoppers.where(treated)
    lifts = {
        "conversions": ratio_lift((control.conversions, control.days), (treatment.conversions, treatment.days)),
        "click_through": ratio_lift((control.clicks, control.lists), (treatment.clicks, treatment.lists)),
    }
    return {name: lift for name, lift in lifts.items() if lift is not None}


def purchases_before(events: Iterable[StoredEvent], moment: int) -> dict[str, float]:
    """Purchases by user id before ``moment`` (seconds since 1970 UTC), every event id once."""
    counts: dict[str, float] = {}
    seen: set[str] = set()
    for event in events:
        if event.timestamp < moment and event.interaction_type.label == "purchase" and event.event_id not in seen:
            seen.add(event.event_id)
            counts[event.user_id] = counts.get(event.user_id, 0.0) + 1
    return counts


def is_compared(rollout_id: str, weight: int, weight_before: int) -> Callable[[str], bool]:
    """Who takes part in the experiment of a stage: shoppers with the same past on both sides.

    Shoppers with a bucket below the share of the stage before have met the version already. They are left out, and with
    them the mirror image at the other end, so that both groups lose equally many, drawn alike.
    """

    def includes(user_id: str) -> bool:
        at = bucket(rollout_id, user_id)
        return weight_before <= at < weight or WHOLE - weight <= at < WHOLE - weight_before

    return includes


def scope_of(record: RolloutRecord, place: int, since_ms: int, until_ms: int) -> Scope:
    """Which lists a stage compares; ``place``: its index in the plan."""
    stage, includes = record.plan.stages[place], None
    if stage.kind is StageKind.EXPERIMENT:
        before = record.plan.stages[place - 1].weight if place else 0
        includes = is_compared(record.id, stage.weight, before)
    return Scope(record.id, CHAMPION, CHALLENGER, since_ms, until_ms, includes=includes)


def _is_treatment(exposure: Exposure, record: RolloutRecord) -> bool:
    kind = record.current_stage.kind
    if kind is StageKind.SHADOW:
        return exposure.variant == SHADOW and exposure.model_version == record.version
    if kind is StageKind.WARM:
        # Everybody is meant to be answered by the version; what fell back has no version of its own.
        return exposure.variant == CHAMPION
    return exposure.experiment == record.id and exposure.variant == CHALLENGER and bool(exposure.user_id)


def _answers(exposures: Sequence[Exposure], version: str, slow_ms: float, now_ms: int, lists: int) -> Answers:
    """Counts of a group that ``version`` is to answer; ``lists``: on how many lists different products are compared."""
    return Answers(
        requests=len(exposures),
        shoppers=len({one.user_id for one in exposures}),
        fallback_shoppers=len({one.user_id for one in exposures if is_replaced(one, version)}),
        empty_shoppers=len({one.user_id for one in exposures if not one.items}),
        broken=sum(has_failed(one, version) for one in exposures),
        slow=sum(one.latency_ms > slow_ms for one in exposures),
        distinct_products=expected_distinct(exposures, lists),
        newest_age_s=(now_ms - max(one.at_ms for one in exposures)) / 1000 if exposures else None,
    )


def expected_distinct(exposures: Sequence[Exposure], lists: int) -> float:
    """Expected number of different products in ``lists`` of these lists, drawn without replacement (rarefaction).

    Hurlbert, "The nonconcept of species diversity" (Ecology 52, 1971): the sum over products of the chance that one of
    the drawn lists shows it.
    """
    shown: dict[str, int] = {}
    for exposure in exposures:
        for product in {item.product_id for item in exposure.items}:
            shown[product] = shown.get(product, 0) + 1
    n = len(exposures)
    if n == 0 or lists == 0:
        return 0.0
    # The chance that none of ``lists`` drawn shows it: C(n - c, lists) / C(n, lists), by logarithms of factorials.
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    counts = np.array(list(shown.values()), dtype=np.int64)
    rest = n - counts
    possible = rest >= lists
    log_missing = np.full(len(counts), -np.inf)
    some = rest[possible]
    log_missing[possible] = (
        log_factorial[some] - log_factorial[some - lists] - log_factorial[n] + log_factorial[n - lists]
    )
    return float(np.sum(1.0 - np.exp(log_missing)))
