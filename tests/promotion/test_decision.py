"""The gate: what is promoted, what is refused, and in which words."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from recsys_assets.evaluation.report import PromotionFigures
from recsys_assets.measurement.bootstrap import paired_comparison
from recsys_assets.promotion.decision import Decision, PromotionInput, PromotionRules, decide

N = 400
BASE = np.random.default_rng(7).beta(0.4, 3.0, N)
BETTER = BASE + np.random.default_rng(8).normal(0.02, 0.05, N)
WORSE = BASE - 0.01
NOISE = BASE + np.where(np.arange(N) % 2, 0.01, -0.01)


def measured(challenger: Any = BETTER, champion: Any = BASE, **changes: Any) -> PromotionInput:
    """Both models with coverage 0.4 and no groups; ``changes`` such as ``coverage_champion=0.3``."""

    def figures(side: str, ndcg: Any) -> PromotionFigures:
        values: dict[str, Any] = {"ndcg": ndcg, "coverage": 0.4, "worst_group_recall": None}
        return PromotionFigures(**{name: changes.get(f"{name}_{side}", value) for name, value in values.items()})

    old, new = figures("champion", champion), figures("challenger", challenger)
    return PromotionInput(champion="v1.0.0 (ease)", challenger="v1.1.0 (item_knn)", old=old, new=new)


def refused(decision: Decision, *words: str) -> None:
    assert not decision.promote
    assert len(decision.reasons) == len(words), decision.reasons
    for reason, expected in zip(decision.reasons, words, strict=True):
        assert expected in reason
        assert reason[0].isupper() or reason.startswith("v1")
        assert reason.endswith(".")


def test_a_better_challenger_is_promoted_with_the_evidence() -> None:
    decision = decide(measured(worst_group_recall_champion=0.2, worst_group_recall_challenger=0.21))
    assert decision.promote
    expected = paired_comparison(BETTER, BASE)
    assert decision.comparison == expected
    assert decision.comparison is not None
    assert decision.comparison.low > 0
    assert decision.reasons == (
        "v1.1.0 (item_knn) is better than the champion v1.0.0 (ease): NDCG differs by "
        f"{expected.difference:+.4f} (95% interval {expected.low:+.4f} to {expected.high:+.4f}, 400 users).",
        "Catalogue coverage goes from 0.4 to 0.4, within the allowed fall of 5.0%.",
        "The worst group's recall goes from 0.2 to 0.21, within the allowed fall of 10.0%.",
    )


@pytest.mark.parametrize("challenger", [WORSE, NOISE, BASE], ids=["worse", "as good", "the same"])
def test_not_better_beyond_chance_is_refused(challenger: np.ndarray) -> None:
    decision = decide(measured(challenger))
    refused(decision, "v1.1.0 (item_knn) is not better than the champion v1.0.0 (ease) beyond chance")
    assert decision.comparison == paired_comparison(challenger, BASE)


def test_the_interval_decides_not_the_mean() -> None:
    rng = np.random.default_rng(0)
    uncertain = BASE + rng.normal(0.0, 0.2, N)
    uncertain += 0.003 - (uncertain - BASE).mean()
    decision = decide(measured(uncertain))
    refused(decision, "NDCG differs by +0.0030 (95% interval -0.0")
    lenient = decide(measured(uncertain), PromotionRules(confidence=0.05))
    assert lenient.promote


def test_an_interval_that_starts_at_zero_is_refused() -> None:
    # Two winners among forty: some resamples, more than one in forty, hold neither, so the lower end is exactly 0.
    gain = np.zeros(40)
    gain[:2] = 0.5
    decision = decide(measured(gain, np.zeros(40)))
    assert decision.comparison is not None
    assert decision.comparison.low == 0.0
    refused(decision, "is not better than")


@pytest.mark.parametrize(("winners", "promoted"), [(9, False), (10, True)])
def test_a_handful_of_users_decides_nothing(winners: int, promoted: bool) -> None:
    gain = np.zeros(N)
    gain[:winners] = 0.5
    decision = decide(measured(gain, np.zeros(N)))
    assert decision.comparison is not None
    assert decision.comparison.low > 0
    assert decision.promote is promoted
    if not promoted:
        refused(decision, "differ for only 9 of 400 users; a decision needs at least 10")


@pytest.mark.parametrize(("users", "promoted"), [(29, False), (30, True)])
def test_too_few_users_are_refused(users: int, promoted: bool) -> None:
    champion = np.linspace(0, 0.5, users)
    decision = decide(measured(champion + 0.1, champion))
    assert decision.promote is promoted
    if not promoted:
        refused(decision, "Only 29 users could be evaluated; a decision needs at least 30")
        assert decision.comparison is None


def test_nobody_to_evaluate_is_refused() -> None:
    refused(decide(measured(np.empty(0), np.empty(0))), "Only 0 users")


@pytest.mark.parametrize(
    ("champion", "challenger", "allowed"),
    [
        (0.4, 0.38, True),  # falls by exactly 1/20
        (0.4, 0.3799, False),
        (0.4, 0.9, True),
        (0.7, 0.665, True),  # 0.7 * 0.95 is 0.6649999... in binary
        (0.1, 0.095, True),
        (0.0, 0.0, True),
        (0.3, 0.0, False),
    ],
)
def test_coverage_may_fall_by_one_twentieth(champion: float, challenger: float, allowed: bool) -> None:
    decision = decide(measured(coverage_champion=champion, coverage_challenger=challenger))
    assert decision.promote is allowed
    if not allowed:
        refused(decision, "Catalogue coverage would fall by")
        assert f"from {champion:.4g} to {challenger:.4g}; at most 5.0% is allowed" in decision.reasons[0]


@pytest.mark.parametrize(("challenger", "allowed"), [(0.27, True), (0.2699, False), (0.5, True), (0.0, False)])
def test_the_worst_groups_recall_may_fall_by_one_tenth(challenger: float, allowed: bool) -> None:
    decision = decide(measured(worst_group_recall_champion=0.3, worst_group_recall_challenger=challenger))
    assert decision.promote is allowed
    if not allowed:
        refused(decision, "The worst group's recall would fall by")


def test_rules_can_be_stricter() -> None:
    slight = measured(coverage_challenger=0.398, worst_group_recall_champion=0.3, worst_group_recall_challenger=0.297)
    assert decide(slight).promote
    strict = PromotionRules(max_coverage_drop=0.0, max_worst_group_recall_drop=0.0)
    refused(
        decide(slight, strict), "Catalogue coverage would fall by 0.5%", "The worst group's recall would fall by 1.0%"
    )


def test_every_objection_is_named_at_once() -> None:
    decision = decide(
        measured(WORSE, coverage_challenger=0.1, worst_group_recall_champion=0.3, worst_group_recall_challenger=0.1)
    )
    refused(decision, "beyond chance", "Catalogue coverage would fall by 75.0%", "recall would fall by 66.7%")


def test_different_users_do_not_compare() -> None:
    decision = decide(measured(BETTER[:-1]))
    assert decision.comparison is None
    refused(decision, "NDCG values of shape (399,) and the champion v1.0.0 (ease) of shape (400,)")
    refused(decide(measured(BETTER[:, None], BASE[:, None])), "of shape (400, 1)")


@pytest.mark.parametrize("side", ["ndcg_champion", "ndcg_challenger"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_values_are_refused(side: str, value: float) -> None:
    broken = BASE.copy()
    broken[3] = value
    refused(decide(measured(**{side: broken})), "Some NDCG values are missing or infinite")


@pytest.mark.parametrize("side", ["champion", "challenger"])
def test_missing_guardrails_are_refused(side: str) -> None:
    recalls = {"worst_group_recall_champion": 0.3, "worst_group_recall_challenger": 0.3}
    refused(decide(measured(**{**recalls, f"coverage_{side}": float("nan")})), "Catalogue coverage is missing")
    for value in (None, float("nan")):
        broken = measured(**{**recalls, f"worst_group_recall_{side}": value})
        refused(decide(broken), "The worst group's recall is missing")


def test_the_first_champion_must_beat_popularity() -> None:
    first = replace(measured(), champion="popularity", first=True)
    decision = decide(first)
    assert decision.promote
    assert "is better than the popularity baseline (popularity)" in decision.reasons[0]
    assert decision.reasons[1] == "There is no champion yet, so it was compared with the popularity baseline."
    refused(
        decide(replace(first, new=measured(NOISE).new)),
        "v1.1.0 (item_knn) is not better than the popularity baseline (popularity) beyond chance",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("confidence", 0.0),
        ("confidence", 1.0),
        ("max_coverage_drop", -0.1),
        ("max_coverage_drop", 5.0),
        ("max_worst_group_recall_drop", float("nan")),
        ("min_users", 1),
    ],
)
def test_impossible_rules_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        PromotionRules(**{name: value})  # type: ignore[arg-type]


shares = st.floats(0, 1)
# Few distinct values and heavy ties make skewed and degenerate differences, where intervals behave worst.
per_user = npst.arrays(np.float64, st.just(33), elements=st.sampled_from([0.0, 0.0, 0.0, 1e-9, 0.5, 1.0]))


@given(per_user, per_user, shares, shares, st.none() | st.tuples(shares, shares), st.sampled_from([0.01, 0.95, 0.9999]))
@settings(max_examples=150, deadline=None)
def test_swapping_roles_never_promotes_both(
    a: np.ndarray, b: np.ndarray, cover_a: float, cover_b: float, recalls: tuple[float, float] | None, confidence: float
) -> None:
    recall_a, recall_b = recalls or (None, None)
    rules = PromotionRules(confidence=confidence, min_differing_users=0, resamples=200, seed=3)
    one = measured(
        a,
        b,
        coverage_challenger=cover_a,
        coverage_champion=cover_b,
        worst_group_recall_challenger=recall_a,
        worst_group_recall_champion=recall_b,
    )
    other = measured(
        b,
        a,
        coverage_challenger=cover_b,
        coverage_champion=cover_a,
        worst_group_recall_challenger=recall_b,
        worst_group_recall_champion=recall_a,
    )
    first, second = decide(one, rules), decide(other, rules)
    assert not (first.promote and second.promote)
    assert decide(one, rules) == first
    for decision in (first, second):
        assert decision.reasons
        if decision.promote:
            assert decision.comparison is not None
            assert decision.comparison.low > 0
            assert decision.comparison.difference > 0
