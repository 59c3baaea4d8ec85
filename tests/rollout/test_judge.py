"""Every rule of the decision at a look, one row each, and the evidence it is made of against hand-counted streams."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lambda_api.settings import make_settings
from lambda_api.state.exposures import Exposure, ShownItem, has_failed
from recsys_deploy.experiments.comparison import Comparison
from recsys_deploy.experiments.guardrails import binomial_e_value, share_e_value
from recsys_deploy.experiments.inference import Lift, SequentialInterval
from recsys_deploy.experiments.stream_tables import lists_table
from recsys_deploy.release.strategies import Strategy
from recsys_deploy.rollout.evidence import expected_distinct, is_compared
from recsys_deploy.rollout.judge import Answer, Answers, Evidence, breaches, judge
from recsys_deploy.rollout.plan import (
    DAY_S,
    HOUR_S,
    PlanRefused,
    RolloutPlan,
    StageKind,
    in_words,
    interleaved,
    plan_from_json,
    plan_of,
    usual_plan,
)

PLAN = plan_of(Strategy.CANARY)
SHADOW, ONE, FIVE, HALF, WARM = PLAN.stages

FINE = Evidence(
    control=Answers(requests=50_000, shoppers=9_500, distinct_products=900, newest_age_s=1, slow=2_500),
    treatment=Answers(requests=2_500, shoppers=500, distinct_products=880, newest_age_s=1, slow=125),
)
HARMLESS = {"conversions": Lift(0.01, 0.05, 10_000)}


def business(low: float, high: float, *, mismatch: bool = False) -> Comparison:
    interval = SequentialInterval((low + high) / 2, low, high, 0.5, 9_000)
    return Comparison((4_500, 4_500), (5_000, 5_000), interval, is_mismatch=mismatch)


def treated(**changes: object) -> Evidence:
    return replace(FINE, treatment=replace(FINE.treatment, **changes))  # type: ignore[arg-type]


CASES = {
    "a shadow that answered often enough": (
        SHADOW, DAY_S, treated(requests=1_000), Answer.ADVANCE, "no guardrail broken in 1000",
    ),
    "a shadow with too few questions": (
        SHADOW, DAY_S, treated(requests=999), Answer.HOLD, "999 of 1000 answers so far",
    ),
    "a shadow that nobody asks, at its end": (
        SHADOW, 7 * DAY_S, treated(requests=0), Answer.ABORT, "only 0 of 1000 answers within 7 days",
    ),
    "a shadow whose bundle does not load": (
        SHADOW, 60, treated(requests=100, broken=10), Answer.ABORT, "breakage: 10 of 100",
    ),
    "a shadow that answers nothing while shoppers are answered": (
        SHADOW, HOUR_S, treated(requests=0, newest_age_s=None), Answer.ABORT, "shadow did not for 1800 s",
    ),
    "one per cent, too early": (ONE, HOUR_S, FINE, Answer.HOLD, "1 h of 2 h"),
    "one per cent, time is up": (ONE, 2 * HOUR_S, FINE, Answer.ADVANCE, "no guardrail broken in 2500"),
    "one per cent without traffic": (
        ONE, 2 * HOUR_S, treated(requests=199, slow=9), Answer.HOLD, "199 of 200 answers so far",
    ),
    "one per cent with a quarter of the traffic, at its end": (
        ONE, 2 * DAY_S, treated(requests=50, slow=0), Answer.ADVANCE, "no guardrail broken in 50 answers",
    ),
    "one per cent with less, at its end": (
        ONE, 2 * DAY_S, treated(requests=49, slow=0), Answer.ABORT, "only 49 of 200 answers within 2 days",
    ),
    "five per cent, a large loss possible": (FIVE, DAY_S, FINE, Answer.HOLD, "a loss of 30% is not ruled out yet"),
    "five per cent, a large loss ruled out": (
        FIVE, DAY_S, replace(FINE, harm=HARMLESS), Answer.ADVANCE, "no guardrail broken",
    ),
    "five per cent at its end": (FIVE, 4 * DAY_S, FINE, Answer.ADVANCE, "no guardrail broken"),
    "nine broken answers": (ONE, 60, treated(requests=9, broken=9, slow=0), Answer.HOLD, "9 of 200 answers so far"),
    "ten broken answers": (ONE, 60, treated(requests=10, broken=10, slow=0), Answer.ABORT, "breakage: 10 of 10"),
    "fallbacks as often as with the champion": (
        ONE, 2 * HOUR_S, replace(treated(fallback_shoppers=5), control=replace(FINE.control, fallback_shoppers=95)),
        Answer.ADVANCE, "no guardrail broken",
    ),
    "fallbacks far more often": (
        ONE, 60, replace(treated(fallback_shoppers=40), control=replace(FINE.control, fallback_shoppers=95)),
        Answer.ABORT, "fallbacks: 40 of 500",
    ),
    "empty lists": (ONE, 60, treated(empty_shoppers=20), Answer.ABORT, "empty lists: 20 of 500"),
    "slow answers": (ONE, 60, treated(slow=500), Answer.ABORT, "slow answers: 500 of 2500"),
    "a fifth fewer products": (ONE, 60, treated(distinct_products=719), Answer.ABORT, "coverage: 20% fewer"),
    "silence beside a champion that answers": (
        ONE, HOUR_S, treated(requests=0, newest_age_s=None, slow=0), Answer.ABORT, "1 % did not for 1800 s",
    ),
    "silence on both sides": (
        ONE, HOUR_S,
        replace(treated(requests=0, newest_age_s=None, slow=0), control=replace(FINE.control, newest_age_s=7_000.0)),
        Answer.HOLD, "0 of 200 answers so far",
    ),
    "a third fewer purchases": (
        FIVE, DAY_S, replace(FINE, harm={"conversions": Lift(-0.4, 0.07, 9_000)}),
        Answer.ABORT, "conversions fell by 33%, at least by 15%",
    ),
    "somewhat fewer clicks": (
        FIVE, DAY_S, replace(FINE, harm={**HARMLESS, "click_through": Lift(-0.12, 0.02, 9_000)}),
        Answer.ADVANCE, "no guardrail broken",
    ),
    "far fewer clicks": (
        FIVE, DAY_S, replace(FINE, harm={"click_through": Lift(-0.5, 0.05, 9_000)}),
        Answer.ABORT, "click_through fell by 39%, at least by 28%",
    ),
    "half, nobody's window closed": (HALF, DAY_S, FINE, Answer.HOLD, "nobody's window has closed yet"),
    "half, better but too early": (
        HALF, 6 * DAY_S, replace(FINE, business=business(0.01, 0.2), business_days=6), Answer.HOLD, "day 6.0",
    ),
    "half, better": (
        HALF, 8 * DAY_S, replace(FINE, business=business(0.01, 0.2), business_days=8),
        Answer.PROMOTE, "better: conversions per shopper +10.5%",
    ),
    "half, worse": (
        HALF, 8 * DAY_S, replace(FINE, business=business(-0.2, -0.01), business_days=8),
        Answer.ABORT, "worse: conversions per shopper -10.5%",
    ),
    "half, open": (
        HALF, 8 * DAY_S, replace(FINE, business=business(-0.2, 0.1), business_days=8), Answer.HOLD, "[-20.0%, +10.0%]",
    ),
    "half, shares wrong": (
        HALF, 8 * DAY_S, replace(FINE, business=business(0.1, 0.2, mismatch=True), business_days=8),
        Answer.HOLD, "sample-ratio mismatch: shoppers (5000, 5000)",
    ),
    "half, shares wrong until the deadline": (
        HALF, 28 * DAY_S, replace(FINE, business=business(0.1, 0.2, mismatch=True), business_days=28),
        Answer.ABORT, "sample-ratio mismatch until the deadline",
    ),
    "half, deadline, good enough": (
        HALF, 28 * DAY_S, replace(FINE, business=business(-0.049, 0.1), business_days=28),
        Answer.PROMOTE, "good enough:",
    ),
    "half, deadline, undecided": (
        HALF, 28 * DAY_S, replace(FINE, business=business(-0.051, 0.1), business_days=28),
        Answer.ABORT, "undecided after 28 days",
    ),
    "everybody, an alarm": (WARM, HOUR_S, replace(FINE, alarms=("6 % failed",)), Answer.ABORT, "6 % failed"),
    "everybody, not a day yet": (WARM, HOUR_S, FINE, Answer.HOLD, "everybody has met it for 1 h"),
    "everybody, a day": (WARM, DAY_S, FINE, Answer.PROMOTE, "no alarm within 24 h"),
}  # fmt: skip


UNDECIDED = {name for name in CASES if "at its end" in name or "deadline" in name}


@pytest.mark.parametrize("name", CASES)
def test_the_answer_and_its_reason(name: str) -> None:
    stage, elapsed, evidence, expected, reason = CASES[name]
    found = judge(stage, elapsed, evidence, PLAN, offline_passed=True, is_last_test=stage is HALF)
    assert (found.answer, reason in found.reason) == (expected, True), found.reason
    assert found.undecided == (expected is Answer.ABORT and name in UNDECIDED), "an abort for want of evidence"


def test_a_look_keeps_the_figures_it_rests_on() -> None:
    evidence = replace(FINE, harm=HARMLESS, business=business(0.01, 0.2), business_days=8)
    figures = judge(HALF, 8 * DAY_S, evidence, PLAN, offline_passed=True, is_last_test=True).figures
    guardrails = figures["guardrails"]
    assert list(guardrails) == ["fallbacks", "empty lists", "slow answers", "coverage"]
    assert guardrails["slow answers"] == "125 of 2500 answers slower than the champion's 95th percentile"
    assert (figures["requests"], figures["shoppers"]) == ([50_000, 2_500], [9_500, 500])
    assert figures["harm"] == {"conversions": [math.expm1(0.01), 0.05, 10_000]}
    assert figures["conversions"] == [(0.01 + 0.2) / 2, 0.01, 0.2, 0.5]
    assert figures["closed_windows"] == [4_500, 4_500]
    broken = judge(WARM, HOUR_S, replace(FINE, alarms=("6 % failed",)), PLAN, offline_passed=True, is_last_test=False)
    assert broken.figures["requests"] == [50_000, 2_500] and broken.figures["guardrails"] == {}


def test_at_the_deadline_a_model_that_offline_evaluation_refused_is_not_good_enough() -> None:
    evidence = replace(FINE, business=business(-0.01, 0.1), business_days=28)
    found = judge(HALF, 28 * DAY_S, evidence, PLAN, offline_passed=False, is_last_test=True)
    assert (found.answer, found.undecided) == (Answer.ABORT, True)


def test_a_shop_too_small_for_a_verdict_may_go_by_guardrails_alone() -> None:
    plan = replace(PLAN, offline_only=True)
    found = judge(HALF, 7 * DAY_S, FINE, plan, offline_passed=True, is_last_test=True)
    assert found.answer is Answer.PROMOTE


def test_a_small_shop_chooses_once_how_its_rollouts_are_decided(tmp_path: Path) -> None:
    def usual(verdict: str) -> RolloutPlan:
        return usual_plan(make_settings({"home": tmp_path, "rollout": "canary", "rollout_verdict": verdict}))

    assert usual("experiment") == plan_of(Strategy.CANARY)
    assert usual("interleaving") == interleaved(plan_of(Strategy.CANARY))
    assert usual("guardrails") == replace(plan_of(Strategy.CANARY), offline_only=True)
    with pytest.raises(PlanRefused, match="no experiment that could be interleaved"):
        interleaved(plan_of(Strategy.IMMEDIATE))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "0.25 s"), (59, "59 s"), (60, "1 min"), (5_400, "1.5 h"), (DAY_S, "24 h"), (37 * DAY_S, "37 days")],
)
def test_durations_are_said_in_the_unit_that_people_would_use(seconds: float, said: str) -> None:
    assert in_words(seconds) == said


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_plan_survives_json(strategy: Strategy) -> None:
    plan = plan_of(strategy).faster(100)
    assert plan_from_json(plan.to_json()) == plan
    assert plan.stages[-1].kind is StageKind.WARM


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"look_s": 0}, "look_s must be above 0"),
        ({"stages": []}, "must end with one of kind warm"),
        ({"look": 3}, "look"),
        ({"strategy": "slowly"}, "strategy"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(PlanRefused, match=message):
        plan_from_json({**PLAN.to_json(), **change})


def test_weights_never_fall() -> None:
    with pytest.raises(PlanRefused, match="none below the one before"):
        RolloutPlan(Strategy.CANARY, (FIVE, ONE, WARM))


def test_breaches_alarm_without_cause_in_fewer_than_one_of_a_hundred_rollouts() -> None:
    rng = np.random.default_rng(1)
    looks = 200
    bad = rng.poisson(3.0, (1_000, looks)).cumsum(axis=1)
    # As bad as is tolerated: 1.5 times the champion, at a tenth of the shoppers.
    tolerated = 0.1 * 1.5 / (0.1 * 1.5 + 0.9)
    ours = rng.binomial(np.diff(bad, axis=1, prepend=0), tolerated).cumsum(axis=1)
    alarms = [
        any(share_e_value(int(n), int(k), 0.1) >= 100 for n, k in zip(bad[run], ours[run], strict=True))
        for run in range(1_000)
    ]
    assert np.mean(alarms) <= 0.01


def test_an_e_value_is_the_mean_likelihood_ratio() -> None:
    p, odds = 0.075, 0.075 / 0.925
    expected = 0.0
    for factor in (1.5, 2.0, 4.0, 8.0):
        q = factor * odds / (1 + factor * odds)
        expected += (q / p) ** 30 * ((1 - q) / (1 - p)) ** 170 / 4
    assert binomial_e_value(200, 30, p) == pytest.approx(expected)
    assert binomial_e_value(10_000, 10_000, p) == math.inf


def exposure(products: tuple[str, ...], *, stage: str = "ranked", cause: str | None = None) -> Exposure:
    items = tuple(ShownItem(product, 1.0, place, 1.0, "popular") for place, product in enumerate(products, 1))
    return Exposure("r", "u", 0, "e", "champion", 1.0, "v1.0.0", stage, cause, items, {}, 1.0)


def test_different_products_of_drawn_shoppers_are_counted_as_by_drawing_every_subset() -> None:
    lists = [("v", "ab"), ("v", "bc"), ("w", "ac"), ("x", "ab"), ("y", "da"), ("z", "ef"), ("y", "d")]
    users, products = (
        pa.chunked_array([list(column)]) for column in zip(*((u, list(p)) for u, p in lists), strict=True)
    )
    shown = [{product for user, listed in lists if user == one for product in listed} for one in "vwxyz"]
    for size in range(1, 6):
        subsets = [[shown[at] for at in some] for some in combinations(range(5), size)]
        different = [len(set().union(*drawn)) for drawn in subsets]
        alone = [sum(sum(product in one for one in drawn) == 1 for product in "abcdef") for drawn in subsets]
        expected, sd = expected_distinct(users, products, size)
        assert expected == pytest.approx(float(np.mean(different)))
        assert sd == pytest.approx(math.sqrt(float(np.mean(alone)) * size / 5))
    nobody = lists_table([])
    assert expected_distinct(nobody["user_id"], nobody["products"], 3) == (0.0, 0.0)


def group(rng: np.random.Generator, shoppers: int, reach: int) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Lists of shoppers who get nearly the same ten products at each visit, out of the ``reach`` best sellers."""
    # The largest of log-weights with Gumbel noise are a draw without replacement by weight.
    noisy = rng.gumbel(size=(shoppers, reach)) - np.log(np.arange(1, reach + 1))
    own = np.repeat(np.argsort(-noisy, axis=1)[:, :12], 5, axis=0)
    products = rng.permuted(own, axis=1)[:, :10]
    users = np.repeat(np.arange(shoppers), 5).astype(str)
    return pa.chunked_array([users]), pa.chunked_array([products.astype(str).tolist()])


def coverage_is_broken(rng: np.random.Generator, reach: int) -> bool:
    """The guardrail on a tenth of 1,000 shoppers: their version lists ``reach`` products, the champion 400."""
    groups = [group(rng, 900, 400), group(rng, 100, reach)]
    (ours, our_sd), (theirs, their_sd) = (expected_distinct(*one, 100) for one in groups)
    control = Answers(requests=4_500, shoppers=900, distinct_products=ours, distinct_sd=our_sd)
    treatment = Answers(requests=500, shoppers=100, distinct_products=theirs, distinct_sd=their_sd)
    found = breaches(FIVE, Evidence(control, treatment), PLAN.limits)
    return next(one.broken for one in found if one.name == "coverage")


def test_a_small_share_does_not_look_narrow_and_a_narrow_version_does() -> None:
    """Lists of one shopper are alike: drawing lists made equal versions a quarter narrower at a tenth of them."""
    rng = np.random.default_rng(0)
    assert not any(coverage_is_broken(rng, 400) for _ in range(20))
    assert all(coverage_is_broken(rng, 150) for _ in range(10))


@pytest.mark.parametrize(
    ("stage", "cause", "version", "broken"),
    [
        ("popular", "bundle: error", "v1.0.0", True),
        ("candidates", "scoring: timeout", "v1.0.0", True),
        ("ranked", "scoring: timeout", "v1.0.0", False),
        # The champion answered where the challenger failed.
        ("ranked", "scoring: timeout", "v1.1.0", True),
        ("ranked", None, "v1.1.0", False),
        ("popular", "history: timeout", "v1.0.0", False),
        ("popular", "history: timeout; endpoint: open", "v1.0.0", True),
        ("popular", None, "v1.0.0", False),
    ],
)
def test_a_version_is_blamed_for_its_own_failures_alone(
    stage: str, cause: str | None, version: str, broken: bool
) -> None:
    assert has_failed(exposure(("a",), stage=stage, cause=cause), version) is broken


def test_shoppers_who_met_the_version_before_and_their_mirror_image_stay_out() -> None:
    from lambda_api.serving.routing import bucket

    includes = is_compared("r-1", 5_000, 500)
    kept = [includes(f"u{number}") for number in range(20_000)]
    at = np.array([bucket("r-1", f"u{number}") for number in range(20_000)])
    assert np.array_equal(kept, ((at >= 500) & (at < 9_500)))
