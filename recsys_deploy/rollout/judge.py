"""The decision at one look: hold, advance, abort or promote. Pure: evidence in, answer and reason out.

Plain breakage ends a rollout at once, sequentially valid tests end it when they are sure, missing traffic holds it.
Small shares judge breakage and large losses, half and half judges business. Undecided means that the champion stays.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from recsys_deploy.experiments.comparison import Comparison, Verdict, verdict_of
from recsys_deploy.experiments.guardrails import TOLERATED_RATIO, Breach, binomial_e_value, breach, share_e_value
from recsys_deploy.experiments.inference import Lift, lower_bound, upper_bound
from recsys_deploy.rollout.plan import Limits, RolloutPlan, Stage, StageKind, in_words

MIN_DISTINCT_LISTS = 500
"""Lists that coverage is compared on, at least."""

COVERAGE_SURE = 3.0
"""Standard deviations by which the loss of different products has to be beyond its limit."""

ENOUGH_AT_THE_END = 0.25
"""Share of the answers wanted with which a stage is left when its time is up; with fewer the rollout ends undecided."""

HARM_MARGINS = {"conversions": 0.0, "click_through": 0.10}
"""Relative loss of a metric that ends a rollout at once when it is beyond doubt. Fewer clicks alone are no harm: a
model may sell more from fewer of them."""


SOLD_IN = {
    StageKind.EXPERIMENT: "conversions per shopper",
    StageKind.INTERLEAVING: "purchases from its places over the champion's",
}
"""What stages that are judged by business compare."""


class Answer(StrEnum):
    """What the state machine does next."""

    HOLD = "hold"
    ADVANCE = "advance"
    ABORT = "abort"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Answers:
    """What one group got in a stage.

    Attributes:
        requests: lists. shoppers: who got them.
        fallback_shoppers: who got at least one list that is not the model's.
        empty_shoppers: who got at least one empty list.
        broken: lists where the model or its endpoint failed.
        slow: lists slower than the champion's 95th percentile in the same stage.
        distinct_products: shown to as many shoppers as the smaller group has (expected number).
        distinct_sd: standard deviation of that number by chance.
        newest_age_s: seconds since the newest list; ``None``: none.
    """

    requests: int = 0
    shoppers: int = 0
    fallback_shoppers: int = 0
    empty_shoppers: int = 0
    broken: int = 0
    slow: int = 0
    distinct_products: float = 0.0
    distinct_sd: float = 0.0
    newest_age_s: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What happened since a stage began.

    Attributes:
        control, treatment: answers of champion and challenger (in the shadow: of the shadow).
        alarms: triggers that stand on their own (error rate, latency, endpoint, throttling), as sentences.
        harm: lift of purchases per day and of clicks per list, by name; those with enough events.
        business: comparison of the experiment; ``None`` outside it.
        business_days: days since the experiment began.
    """

    control: Answers = field(default_factory=Answers)
    treatment: Answers = field(default_factory=Answers)
    alarms: tuple[str, ...] = ()
    harm: Mapping[str, Lift] = field(default_factory=dict)
    business: Comparison | None = None
    business_days: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """The answer, why, and the figures it rests on; ``undecided``: an abort for want of evidence."""

    answer: Answer
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    undecided: bool = False


def judge(
    stage: Stage, elapsed_s: float, evidence: Evidence, plan: RolloutPlan, *, offline_passed: bool, is_last_test: bool
) -> Judgement:
    """Decide about a rollout in ``stage`` for ``elapsed_s`` seconds.

    Args:
        is_last_test: after this stage everybody meets the version, so that going on means promoting.
    """
    found = [] if stage.kind is StageKind.WARM else breaches(stage, evidence, plan.limits)
    broken = [f"{one.name}: {one.detail} (evidence {one.e_value:.3g})" for one in found if one.broken]
    if evidence.alarms or broken:
        decided = Judgement(Answer.ABORT, "; ".join(evidence.alarms or broken))
    elif _is_silent(stage, elapsed_s, evidence, plan.limits):
        reason = f"the champion answered and {stage.name} did not for {plan.limits.silence_s:.0f} s"
        decided = Judgement(Answer.ABORT, reason)
    elif stage.kind is StageKind.WARM:
        decided = _warm(stage, elapsed_s)
    elif harm := _harm(evidence, plan):
        decided = Judgement(Answer.ABORT, harm)
    elif stage.kind in SOLD_IN and not plan.offline_only:
        decided = _business(evidence, plan, SOLD_IN[stage.kind], offline_passed=offline_passed)
    else:
        decided = _ramp(stage, elapsed_s, evidence, plan, Answer.PROMOTE if is_last_test else Answer.ADVANCE)
    return replace(decided, figures=_figures(evidence, found))


def breaches(stage: Stage, evidence: Evidence, limits: Limits) -> list[Breach]:
    """Guardrails at this look; those against the champion need a champion that answers beside it."""
    control, treatment = evidence.control, evidence.treatment
    found = []
    if treatment.broken >= limits.broken_least and treatment.broken >= limits.broken_share * treatment.requests:
        detail = f"{treatment.broken} of {treatment.requests} answers failed in the model"
        found.append(Breach("breakage", float("inf"), True, detail))
    if stage.kind is StageKind.SHADOW or control.shoppers == 0 or treatment.shoppers == 0:
        return found
    share = treatment.shoppers / (treatment.shoppers + control.shoppers)
    for name, ours, theirs in (
        ("fallbacks", treatment.fallback_shoppers, control.fallback_shoppers),
        ("empty lists", treatment.empty_shoppers, control.empty_shoppers),
    ):
        detail = f"{ours} of {treatment.shoppers} shoppers against {theirs} of {control.shoppers} with the champion"
        found.append(breach(name, share_e_value(ours + theirs, ours, share), detail))
    slow = min(treatment.slow, treatment.requests)
    tolerated = limits.slow_share * TOLERATED_RATIO
    detail = f"{slow} of {treatment.requests} answers slower than the champion's 95th percentile"
    found.append(breach("slow answers", binomial_e_value(treatment.requests, slow, tolerated), detail))
    if min(control.requests, treatment.requests) >= MIN_DISTINCT_LISTS and control.distinct_products > 0:
        drop, least = 1 - treatment.distinct_products / control.distinct_products, 1 - limits.coverage_drop
        missing = least * control.distinct_products - treatment.distinct_products
        noise = math.hypot(least * control.distinct_sd, treatment.distinct_sd)
        detail = f"{drop:.0%} fewer different products, shown to equally many shoppers"
        found.append(Breach("coverage", 0.0, missing > COVERAGE_SURE * noise, detail))
    return found


def _is_silent(stage: Stage, elapsed_s: float, evidence: Evidence, limits: Limits) -> bool:
    """Whether the version gives no answers although its share of the champion's traffic should be many."""
    if stage.kind is StageKind.WARM or elapsed_s < limits.silence_s:
        return False
    # A shadow is asked all the champion's questions.
    share = 0.5 if stage.kind is StageKind.SHADOW else stage.weight / 10_000
    expected = evidence.control.requests * share / max(1 - share, 1e-9)
    ours, theirs = (
        one.newest_age_s is not None and one.newest_age_s <= limits.silence_s
        for one in (evidence.treatment, evidence.control)
    )
    return not ours and expected >= 20 and theirs


def _warm(stage: Stage, elapsed_s: float) -> Judgement:
    if elapsed_s < stage.min_s:
        return Judgement(Answer.HOLD, f"everybody has met it for {in_words(max(0.0, elapsed_s))}, no alarm")
    return Judgement(Answer.PROMOTE, f"no alarm within {in_words(stage.min_s)}")


def _harm(evidence: Evidence, plan: RolloutPlan) -> str:
    """Why the version sells less beyond doubt; empty where nobody can say so. Tests share the level."""
    alpha = plan.limits.harm_alpha / max(1, len(evidence.harm))
    for name, lift in evidence.harm.items():
        bound = upper_bound(lift, plan.business.planned_shoppers, alpha)
        if bound < -HARM_MARGINS.get(name, 0.0):
            return f"{name} fell by {-lift.relative:.0%}, at least by {-bound:.0%} ({lift.shoppers} shoppers)"
    return ""


def _ramp(stage: Stage, elapsed_s: float, evidence: Evidence, plan: RolloutPlan, go_on: Answer) -> Judgement:
    limits, treatment = plan.limits, evidence.treatment
    wanted = limits.min_shadow_questions if stage.kind is StageKind.SHADOW else limits.min_requests
    too_late = elapsed_s >= stage.max_s
    if treatment.requests < wanted:
        if too_late and not plan.offline_only and treatment.requests < ENOUGH_AT_THE_END * wanted:
            reason = f"only {treatment.requests} of {wanted} answers within {in_words(stage.max_s)}: too little traffic"
            return Judgement(Answer.ABORT, reason, undecided=True)
        if not too_late:
            return Judgement(Answer.HOLD, f"{treatment.requests} of {wanted} answers so far")
    if elapsed_s < stage.min_s:
        return Judgement(Answer.HOLD, f"{in_words(elapsed_s)} of {in_words(stage.min_s)}, no guardrail broken")
    if not too_late and not _large_loss_is_excluded(stage, evidence, plan):
        return Judgement(Answer.HOLD, f"a loss of {limits.excluded_loss:.0%} is not ruled out yet")
    return Judgement(go_on, f"no guardrail broken in {treatment.requests} answers")


def _large_loss_is_excluded(stage: Stage, evidence: Evidence, plan: RolloutPlan) -> bool:
    """Whether the last stage before half of the shoppers has shown that no large loss hides behind small numbers."""
    limits = plan.limits
    before_half = stage.kind is StageKind.GUARDRAILS and 500 <= stage.weight < 5_000
    if not before_half or limits.excluded_loss <= 0 or plan.offline_only:
        return True
    sold = evidence.harm.get("conversions")
    if sold is None:
        return False
    return lower_bound(sold, plan.business.planned_shoppers, limits.harm_alpha) > -limits.excluded_loss


def _business(evidence: Evidence, plan: RolloutPlan, what: str, *, offline_passed: bool) -> Judgement:
    if evidence.business is None:
        return Judgement(Answer.HOLD, "nobody's window has closed yet")
    comparison, rules = evidence.business, plan.business
    verdict = verdict_of(comparison, evidence.business_days, rules, offline_passed=offline_passed)
    found = comparison.primary
    interval = "too few conversions" if found is None else f"{found.lift:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
    shoppers = sum(comparison.shoppers) if found is None else found.shoppers
    told = f"{what} {interval}, {shoppers} shoppers, day {evidence.business_days:.1f}"
    if verdict in (Verdict.BETTER, Verdict.GOOD_ENOUGH):
        return Judgement(Answer.PROMOTE, f"{verdict}: {told}")
    if verdict is Verdict.WORSE:
        return Judgement(Answer.ABORT, f"{verdict}: {told}")
    if verdict is Verdict.UNDECIDED:
        return Judgement(Answer.ABORT, f"undecided after {rules.max_days:g} days: {told}", undecided=True)
    if verdict is Verdict.MISMATCH and evidence.business_days >= rules.max_days:
        return Judgement(Answer.ABORT, f"{verdict} until the deadline: {told}", undecided=True)
    reason = f"{verdict}: shoppers {comparison.reached} do not fit the shares; {told}"
    return Judgement(Answer.HOLD, reason if verdict is Verdict.MISMATCH else told)


def _figures(evidence: Evidence, found: list[Breach]) -> dict[str, Any]:
    """JSON-able figures of a look."""
    figures: dict[str, Any] = {
        "requests": [evidence.control.requests, evidence.treatment.requests],
        "shoppers": [evidence.control.shoppers, evidence.treatment.shoppers],
        "guardrails": {one.name: one.detail for one in found},
        "harm": {name: [lift.relative, lift.se, lift.shoppers] for name, lift in evidence.harm.items()},
    }
    if evidence.business is not None and evidence.business.primary is not None:
        primary = evidence.business.primary
        figures["conversions"] = [primary.lift, primary.low, primary.high, primary.p_value]
        figures["closed_windows"] = list(evidence.business.shoppers)
    return figures
