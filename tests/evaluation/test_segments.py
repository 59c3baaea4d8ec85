"""Groups of users and products, and gaps that are flagged only when chance does not explain them."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from recsys_assets.evaluation.fairness import fairness_gaps, holm, permutation_p_values
from recsys_assets.evaluation.segments import (
    OTHER,
    UNKNOWN,
    Segmentation,
    SegmentRules,
    product_segment_results,
    segment_results,
    segment_users,
)
from recsys_assets.measurement.bootstrap import mean_interval
from recsys_assets.measurement.protocol import EvaluationTask, EvaluationWindow, build_task, evaluate
from tests.evaluation.helpers import END, START, Event, ScriptedRecommender, catalogue, interactions, people

RULES = SegmentRules(warm_from=2, hot_from=4, top_locations=2, minimum_size=3)


def small_task() -> EvaluationTask:
    """Users u0..u7; user i has seen i + 1 distinct products and then buys ``goal``."""
    past: list[Event] = [(f"u{i}", f"p{j}", "view", -1 - j) for i in range(8) for j in range(i + 1)]
    # Seen again and again: depth counts distinct products, not events.
    past += [("u0", "p0", "view", -2 - i / 10) for i in range(9)]
    wanted: list[Event] = [(f"u{i}", "goal", "purchase", 1) for i in range(8)]
    return build_task(interactions(past + wanted), catalogue(["goal"]), EvaluationWindow(START, END))


def members(task: EvaluationTask, segmentation: Segmentation) -> dict[str, set[str]]:
    return {
        group: {task.user_ids[row] for row in np.flatnonzero(segmentation.codes == code)}
        for code, group in enumerate(segmentation.groups)
    }


def test_users_by_depth_of_history() -> None:
    task = small_task()
    (history,) = segment_users(task, None, RULES)
    assert members(task, history) == {"hot": {"u3", "u4", "u5", "u6", "u7"}, "warm": {"u1", "u2"}, "cold": {"u0"}}
    assert not history.demographic


def test_users_by_what_is_known_of_them() -> None:
    task = small_task()
    table = people(
        ["stranger", "u7", "u6", "u5", "u4", "u3", "u2", "u1"],
        gender=["f", "m", "f", None, "f", "m", " ", "f"],
        age=[40, 24, 25, 34, 35, 64, 65, None],
        location=["Oslo", "Rome", "Rome", "Rome", "Bonn", "Bonn", "Lima", "Kyiv"],
    )
    _, gender, age, location = segment_users(task, table, RULES)
    assert members(task, gender) == {"f": {"u6", "u4", "u1"}, "m": {"u7", "u3"}, UNKNOWN: {"u5", "u2", "u0"}}
    assert age.groups == ("under 25", "25-34", "35-44", "55-64", "65+", UNKNOWN)
    assert members(task, age)["25-34"] == {"u6", "u5"}
    assert members(task, location) == {
        "Bonn": {"u4", "u3"}, "Rome": {"u7", "u6", "u5"}, OTHER: {"u2", "u1"}, UNKNOWN: {"u0"},
    }  # fmt: skip


def test_attributes_nobody_has_make_no_groups() -> None:
    segmentations = segment_users(small_task(), people([f"u{i}" for i in range(8)]), RULES)
    assert [segmentation.dimension for segmentation in segmentations] == ["history"]


def test_segment_means_are_means_of_their_users() -> None:
    codes = np.array([0, 1, 0, 1, 1, 0])
    values = np.array([0.0, 1.0, 0.5, 0.0, 0.5, 1.0])
    segmentation = Segmentation("d", ("a", "b", "empty"), codes, demographic=True)
    by_model = {"m": {"ndcg": values}, "other": {"ndcg": 1 - values}}
    both = segment_results(by_model, segmentation, SegmentRules(minimum_size=3), resamples=200)
    results = both["m"]
    assert both["other"][0].metrics["ndcg"].mean == pytest.approx(1 / 2)
    assert [(r.group, r.n, r.judged) for r in results] == [("a", 3, True), ("b", 3, True)]
    assert results[0].metrics["ndcg"] == mean_interval(values[codes == 0], resamples=200)
    assert results[0].metrics["ndcg"].mean == pytest.approx(0.5)


def test_products_hot_warm_and_cold() -> None:
    # p0 holds 8 of 10 earlier events (hot), p1 and p2 one each (warm), p3 none (cold).
    past: list[Event] = [(f"u{i}", "p0", "view", -2) for i in range(8)] + [
        ("u0", "p1", "view", -2),
        ("u1", "p2", "view", -1),
    ]
    wanted: list[Event] = [
        ("u0", "p0", "purchase", 1), ("u0", "p2", "purchase", 1),
        ("u1", "p1", "purchase", 1), ("u1", "p3", "purchase", 1),
    ]  # fmt: skip
    task = build_task(interactions(past + wanted), catalogue(["p3"]), EvaluationWindow(START, END))
    scores = {"u0": {"p0": 3, "p1": 2}, "u1": {"p1": 3, "p2": 2}}
    evaluation = evaluate("m", ScriptedRecommender(["p0", "p1", "p2", "p3"], scores), task, k=2)
    hot, warm, cold = product_segment_results([evaluation], task, resamples=50)["m"]
    assert [s.products for s in (hot, warm, cold)] == [1, 2, 1]
    assert [s.exposure_share for s in (hot, warm, cold)] == [1 / 4, 3 / 4, 0]
    assert [s.relevant_share for s in (hot, warm, cold)] == [1 / 4, 2 / 4, 1 / 4]
    assert [s.recall and (s.recall.mean, s.recall.n) for s in (hot, warm, cold)] == [(1.0, 1), (0.5, 2), (0.0, 1)]


def test_permutation_p_values_approach_the_exact_one() -> None:
    values, codes = np.array([0.9, 0.8, 0.1, 0.4, 0.2, 0.3]), np.array([0, 0, 1, 1, 2, 2])

    def width(grouping: tuple[int, ...]) -> float:
        means = [values[np.array(grouping) == group].mean() for group in range(3)]
        return float(max(means) - min(means))

    exact = np.mean([width(grouping) >= width(tuple(codes)) - 1e-12 for grouping in permutations(codes.tolist())])
    estimates = permutation_p_values(np.stack([values, 1 - values], axis=1), codes, permutations=20_000, seed=0)
    assert estimates[0] == estimates[1]
    assert estimates[0] == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 20_000))


def values_of(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {name: (rng.random(n) < 0.3).astype(float) for name in ("hit_rate", "recall", "tail_share")}


@pytest.mark.slow
def test_noise_is_rarely_called_unfair() -> None:
    rng = np.random.default_rng(4)
    trials, flags, naive = 120, 0, 0
    for _ in range(trials):
        # Six groups of 50: the extremes of six noisy means look far apart.
        segmentation = Segmentation("location", tuple("abcdef"), np.repeat(np.arange(6), 50), demographic=True)
        gaps = fairness_gaps({"m": values_of(rng, 300)}, [segmentation])["m"]
        flags += any(gap.flagged for gap in gaps)
        naive += any(gap.low > 0 for gap in gaps)
    # Were the family-wise error .05, more than this would be flagged once in ten thousand runs.
    assert flags <= stats.binom.ppf(1 - 1e-4, trials, 0.05)
    # Judged by the interval of the two extremes alone, most of these shops would have been accused.
    assert naive > trials / 2


def test_a_real_gap_is_found_and_named() -> None:
    rng = np.random.default_rng(5)
    values = values_of(rng, 900)
    codes = np.repeat(np.arange(3), 300)
    values["recall"] = np.where(codes == 1, 0.5, 1.0) * rng.random(900)
    segmentation = Segmentation("gender", ("f", "m", "x"), codes, demographic=True)
    flagged = [gap for gap in fairness_gaps({"m": values}, [segmentation])["m"] if gap.flagged]
    assert [(gap.measure, gap.worst_group, gap.n) for gap in flagged] == [("recall", "m", 900)]
    means = [values["recall"][codes == code].mean() for code in range(3)]
    assert flagged[0].gap == pytest.approx(max(means) - min(means))
    best, worst = (values["recall"][codes == code] for code in (int(np.argmax(means)), 1))
    peer = stats.ttest_ind(best, worst, equal_var=False).confidence_interval(0.95)
    assert (flagged[0].low, flagged[0].high) == (pytest.approx(peer.low), pytest.approx(peer.high))


def test_models_are_judged_alike_alone_or_together() -> None:
    rng = np.random.default_rng(8)
    codes = np.repeat(np.arange(3), 100)
    segmentation = Segmentation("gender", ("f", "m", "x"), codes, demographic=True)
    values = {"a": values_of(rng, 300), "b": values_of(rng, 300)}
    # One model left some users without a list: they have no tail share, and only that measure loses them.
    values["b"]["tail_share"][:7] = np.nan
    together = fairness_gaps(values, [segmentation])
    assert together == {name: fairness_gaps({name: values[name]}, [segmentation])[name] for name in values}
    assert [gap.n for gap in together["b"]] == [300, 300, 293]


def test_small_and_unknown_groups_are_judged_by_nobody() -> None:
    codes = np.array([0] * 60 + [1] * 49 + [2] * 80)
    perfect = np.where(codes == 0, 1.0, 0.0)
    values = dict.fromkeys(("hit_rate", "recall", "tail_share"), perfect)
    segmentation = Segmentation("gender", ("f", "m", UNKNOWN), codes, demographic=True)
    assert fairness_gaps({"m": values}, [segmentation]) == {"m": ()}
    history = Segmentation("history", ("hot", "warm"), np.repeat([0, 1], [100, 89]), demographic=False)
    assert fairness_gaps({"m": values}, [history]) == {"m": ()}


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert holm([0.04, 0.01], 0.05) == [True, True]
    assert holm([], 0.05) == []
