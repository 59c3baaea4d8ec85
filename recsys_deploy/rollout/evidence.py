"""What a look rests on, read from the event stream and, on AWS, from the alarms.

The stream is the same on a laptop and on AWS, so one reader serves both. Only triggers that stand on their own differ:
a laptop computes error rate and latency from the newest lists, AWS has CloudWatch alarms for them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import compress
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lambda_api.serving.routing import bucket
from lambda_api.state.exposures import is_fault_of_version
from lambda_api.state.routing_record import WHOLE
from recsys_deploy.experiments.comparison import compare
from recsys_deploy.experiments.inference import Lift, ratio_lift
from recsys_deploy.experiments.interleaving import compare_credits, credits_of, lifts_of
from recsys_deploy.experiments.stream_tables import StreamTables, once
from recsys_deploy.experiments.totals import DAY_MS, Scope, Shoppers, first_seen, shoppers_of
from recsys_deploy.release.route import CHAMPION
from recsys_deploy.release.strategies import CHALLENGER
from recsys_deploy.rollout.judge import HARM_MARGINS, Answers, Evidence
from recsys_deploy.rollout.plan import StageKind
from recsys_deploy.rollout.record import RolloutRecord

SHADOW = "shadow"
TRIGGERS = "rollback-"
"""Within the names of alarms that end a rollout; those of the machine and its function are called otherwise."""

ALARM_WINDOW_S = 300.0
ALARM_LEAST = 20
"""Answers within the alarm window below which nothing is concluded."""

HISTORY_DAYS = 28
"""Days before the first list in which purchases count as the covariate of CUPED."""


class Alarms(Protocol):
    """Triggers that end a rollout whatever the champion does."""

    def sounding(self, record: RolloutRecord, recent: pa.Table) -> tuple[str, ...]:
        """One sentence for each; ``recent``: lists of the version in the last `ALARM_WINDOW_S` seconds."""


@dataclass(frozen=True)
class LocalAlarms:
    """Error rate and latency of the newest lists, from the served log."""

    def sounding(self, record: RolloutRecord, recent: pa.Table) -> tuple[str, ...]:
        """See `Alarms`."""
        if recent.num_rows < ALARM_LEAST:
            return ()
        limits = record.plan.limits
        failed = float(np.mean(_has_failed(recent, record.version)))
        latency = float(np.mean(recent["latency_ms"].to_numpy()))
        told = (
            f"{failed:.0%} of {recent.num_rows} answers failed within 5 minutes (limit {limits.error_rate:.0%})",
            f"answers took {latency:.0f} ms on average within 5 minutes (limit {limits.latency_ms:.0f})",
        )
        return tuple(compress(told, (failed > limits.error_rate, latency > limits.latency_ms)))


@dataclass(frozen=True)
class CloudWatchAlarms:
    """Trigger alarms of CloudWatch (``terraform/modules/rollout``) that are sounding.

    Attributes:
        client: of CloudWatch. prefix: of the names of everything in the environment.
    """

    client: Any
    prefix: str

    def sounding(self, record: RolloutRecord, recent: pa.Table) -> tuple[str, ...]:
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
    """Evidence of the event stream, read as daily tables."""

    tables: StreamTables
    alarms: Alarms

    def collect(self, record: RolloutRecord, now: float) -> Evidence:
        """What is known of the rollout's stage at ``now`` (seconds since 1970 UTC).

        Raises:
            OSError: the stream cannot be read.
        """
        stage, now_ms = record.current_stage, int(now * 1000)
        first = datetime.fromtimestamp(record.stage_since, UTC).date()
        lists = self.tables.lists(first, (int(record.stage_since * 1000), now_ms))
        treated = _treated(lists, record)
        recent = treated.filter(pc.field("at_ms") >= now_ms - ALARM_WINDOW_S * 1000)
        evidence = Evidence(alarms=self.alarms.sounding(record, recent))
        if stage.kind is StageKind.WARM:
            return replace(evidence, treatment=_answers(treated, record.version, now_ms))
        if stage.kind is StageKind.SHADOW:
            asked = _answers(lists.filter(pc.field("variant") == CHAMPION), record.former.version, now_ms)
            return replace(evidence, control=asked, treatment=_answers(treated, record.version, now_ms))
        control = _of_experiment(lists, record, CHAMPION)
        slow = float(np.quantile(control["latency_ms"].to_numpy(), 0.95)) if control.num_rows else float("inf")
        smaller = min(pc.count_distinct(one["user_id"]).as_py() for one in (control, treated))
        evidence = replace(
            evidence,
            control=_answers(control, record.former.version, now_ms, slow, smaller),
            treatment=_answers(treated, record.version, now_ms, slow, smaller),
        )
        return self._with_outcomes(evidence, record, lists, now_ms)

    def _with_outcomes(self, evidence: Evidence, record: RolloutRecord, lists: pa.Table, now_ms: int) -> Evidence:
        limits, stage = record.plan.limits, record.current_stage
        since = datetime.fromtimestamp(record.stage_since, UTC).date()
        scope = scope_of(record, record.stage, int(record.stage_since * 1000), now_ms)
        window_ms, days = int(limits.outcome_window_s * 1000), (now_ms - record.stage_since * 1000) / DAY_MS
        if stage.kind is StageKind.INTERLEAVING:
            events, versions = self.tables.events(since), (record.former.version, record.version)
            open_ones, closed = (credits_of(lists, events, scope, versions, window_ms=one) for one in (None, window_ms))
            lifts = {name: lift for name, lift in lifts_of(open_ones).items() if lift and name in HARM_MARGINS}
            business = compare_credits(closed, record.plan.business) if len(closed.first_ms) else None
            return replace(evidence, harm=lifts, business=business, business_days=days)
        is_experiment = stage.kind is StageKind.EXPERIMENT
        events = self.tables.events(since - timedelta(days=HISTORY_DAYS) if is_experiment else since)
        evidence = replace(evidence, harm=harm_of(shoppers_of(lists, events, scope, window_ms=None)))
        if not is_experiment:
            return evidence
        before = purchases_before(events, int(record.stage_since))
        long = shoppers_of(lists, events, scope, window_ms=window_ms, before=before)
        if len(long.users) == 0:
            return replace(evidence, business_days=days)
        comparison = compare(long, first_seen(lists, scope), 0.5, record.plan.business)
        return replace(evidence, business=comparison, business_days=days)


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


def purchases_before(events: pa.Table, moment: int) -> dict[str, float]:
    """Purchases by user id before ``moment`` (seconds since 1970 UTC), every event id once."""
    bought = once(events.filter((pc.field("at") < moment) & (pc.field("kind") == "purchase")), "event_id")
    return {str(one["values"]): float(one["counts"]) for one in pc.value_counts(bought["user_id"]).to_pylist()}


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


def _treated(lists: pa.Table, record: RolloutRecord) -> pa.Table:
    """Lists that the version was to answer."""
    kind = record.current_stage.kind
    if kind is StageKind.SHADOW:
        return lists.filter((pc.field("variant") == SHADOW) & (pc.field("model_version") == record.version))
    if kind is StageKind.WARM:
        # Everybody is meant to be answered by the version; what fell back has no version of its own.
        return lists.filter(pc.field("variant") == CHAMPION)
    return _of_experiment(lists, record, CHALLENGER)


def _of_experiment(lists: pa.Table, record: RolloutRecord, variant: str) -> pa.Table:
    field = pc.field
    return lists.filter((field("experiment") == record.id) & (field("variant") == variant) & (field("user_id") != ""))


def _answers(lists: pa.Table, version: str, now_ms: int, slow_ms: float = float("inf"), compared: int = 0) -> Answers:
    """Counts of a group that ``version`` is to answer.

    Args:
        slow_ms: lists that took longer count as slow.
        compared: shoppers whose different products are counted.
    """
    users, sizes = lists["user_id"], pc.list_value_length(lists["products"])
    newest = pc.max(lists["at_ms"]).as_py()
    distinct, distinct_sd = expected_distinct(users, lists["products"], compared)
    return Answers(
        requests=lists.num_rows,
        shoppers=pc.count_distinct(users).as_py(),
        fallback_shoppers=pc.count_distinct(users.filter(pa.array(_is_replaced(lists, version)))).as_py(),
        empty_shoppers=pc.count_distinct(users.filter(pc.equal(sizes, 0))).as_py(),
        broken=int(_has_failed(lists, version).sum()),
        slow=int((lists["latency_ms"].to_numpy() > slow_ms).sum()),
        distinct_products=distinct,
        distinct_sd=distinct_sd,
        newest_age_s=None if newest is None else (now_ms - newest) / 1000,
    )


def _is_replaced(lists: pa.Table, version: str) -> NDArray[np.bool_]:
    """`lambda_api.state.exposures.is_replaced` of every list."""
    other = pc.or_(pc.not_equal(lists["stage"], "ranked"), pc.not_equal(lists["model_version"], version))
    return np.asarray(pc.and_(pc.not_equal(lists["cause"], ""), other).to_numpy(), dtype=bool)


def _has_failed(lists: pa.Table, version: str) -> NDArray[np.bool_]:
    """`lambda_api.state.exposures.has_failed` of every list."""
    faults = [cause for cause in pc.unique(lists["cause"]).to_pylist() if is_fault_of_version(cause)]
    own = pc.is_in(lists["cause"], pa.array(faults, pa.string()))
    return _is_replaced(lists, version) & np.asarray(own.to_numpy(), dtype=bool)


def expected_distinct(users: pa.ChunkedArray, products: pa.ChunkedArray, drawn: int) -> tuple[float, float]:
    """Expected number of different products shown to ``drawn`` of these shoppers, and its standard deviation by chance.

    Rarefaction (Hurlbert, "The nonconcept of species diversity", Ecology 52, 1971): the sum over products of the chance
    that one of the drawn shoppers saw it. Shoppers are drawn and not lists, because lists of one shopper are alike.
    The variance is estimated by the products that one drawn shopper alone would have seen.

    Args:
        users: the shopper of each list.
        products: ids of each list.
    """
    who = users.combine_chunks().dictionary_encode()
    n = len(who.dictionary)
    if n == 0 or drawn == 0:
        return 0.0, 0.0
    lists = products.combine_chunks()
    what = lists.flatten().dictionary_encode()
    owner = who.indices.to_numpy()[pc.list_parent_indices(lists).to_numpy()].astype(np.int64)
    pairs = np.unique(owner * max(1, len(what.dictionary)) + what.indices.to_numpy())
    counts = np.bincount(pairs % max(1, len(what.dictionary)))
    missed = np.exp(_log_chance_of_none(n, counts, drawn))
    # Of ``drawn`` shoppers exactly one saw it: it is drawn, and none of the others among ``drawn - 1`` of the rest.
    alone = counts * (drawn / n) * np.exp(_log_chance_of_none(n - 1, counts - 1, drawn - 1))
    return float(np.sum(1.0 - missed)), float(np.sqrt(np.sum(alone) * drawn / n))


def _log_chance_of_none(n: int, counts: NDArray[np.int64], drawn: int) -> NDArray[np.float64]:
    """Logarithm of C(n - count, drawn) / C(n, drawn), the chance that no one of ``count`` among ``n`` is drawn."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    rest = n - counts
    possible = rest >= drawn
    found = np.full(len(counts), -np.inf)
    some = rest[possible]
    found[possible] = log_factorial[some] - log_factorial[some - drawn] - log_factorial[n] + log_factorial[n - drawn]
    return found
