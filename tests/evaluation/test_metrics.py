"""Ranking metrics against fractions worked by hand, a naive loop, and four peer libraries."""

import math
from fractions import Fraction

import implicit.evaluation
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from irspack.evaluation._core_evaluator import EvaluatorCore
from scipy import sparse
from sklearn.metrics import average_precision_score, ndcg_score

from lambda_api.recommender.histories import Ragged
from recsys_assets.measurement.metrics import RANKING_METRICS, MetricOptions, ranking_metrics
from tests.evaluation.helpers import lists, ragged

RECTOOLS_DEFAULT = MetricOptions(ndcg_ideal="full", map_denominator="relevant")


def log2(value: int) -> float:
    return math.log2(value)


def test_hand_computed_fractions() -> None:
    # User 0: hits at ranks 1 and 3 of 4, three relevant. User 1: one hit at rank 2, one relevant, last place empty.
    recommended = lists([5, 7, 9, 8], [1, 4, 3, -1])
    metrics = ranking_metrics(recommended, ragged([5, 9, 2], [4]), k=4)
    ideal_3 = 1 / log2(2) + 1 / log2(3) + 1 / log2(4)
    expected = {
        "ndcg": [(1 / log2(2) + 1 / log2(4)) / ideal_3, (1 / log2(3)) / (1 / log2(2))],
        "recall": [Fraction(2, 3), Fraction(1, 1)],
        "capped_recall": [Fraction(2, 3), Fraction(1, 1)],
        "precision": [Fraction(2, 4), Fraction(1, 4)],
        "hit_rate": [Fraction(1), Fraction(1)],
        "mrr": [Fraction(1, 1), Fraction(1, 2)],
        "map": [Fraction(1, 3) * (Fraction(1, 1) + Fraction(2, 3)), Fraction(1, 1) * Fraction(1, 2)],
    }
    assert tuple(metrics) == RANKING_METRICS
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], [float(value) for value in values], rtol=1e-15, err_msg=name)


def test_more_relevant_products_than_places() -> None:
    metrics = ranking_metrics(lists([1, 9]), ragged([1, 2, 3, 4, 5]), k=2)
    assert metrics["recall"][0] == 1 / 5
    assert metrics["capped_recall"][0] == 1 / 2
    assert metrics["map"][0] == 1 / 2
    assert metrics["ndcg"][0] == pytest.approx(1 / (1 + 1 / log2(3)), rel=1e-15)


@pytest.mark.parametrize(
    ("options", "average_precision"),
    [
        (MetricOptions(), Fraction(1, 2)),
        (MetricOptions(map_denominator="relevant"), Fraction(1, 5)),
        (MetricOptions(map_denominator="k"), Fraction(1, 2)),
    ],
)
def test_map_denominators_with_many_relevant(options: MetricOptions, average_precision: Fraction) -> None:
    metrics = ranking_metrics(lists([1, 9]), ragged([1, 2, 3, 4, 5]), 2, options)
    assert metrics["map"][0] == pytest.approx(float(average_precision), rel=1e-15)


@pytest.mark.parametrize(
    ("options", "average_precision"),
    [
        (MetricOptions(), Fraction(1, 1)),
        (MetricOptions(map_denominator="relevant"), Fraction(1, 1)),
        (MetricOptions(map_denominator="k"), Fraction(1, 2)),
    ],
)
def test_map_denominators_with_one_relevant(options: MetricOptions, average_precision: Fraction) -> None:
    metrics = ranking_metrics(lists([1, 9]), ragged([1]), 2, options)
    assert metrics["map"][0] == pytest.approx(float(average_precision), rel=1e-15)


def test_a_perfect_list_scores_exactly_one() -> None:
    metrics = ranking_metrics(np.arange(10, dtype=np.int32)[None, :], ragged(range(10)), k=10)
    assert {name: values[0] for name, values in metrics.items()} == dict.fromkeys(RANKING_METRICS, 1.0)


def test_full_ideal_lowers_ndcg_of_users_with_few_relevant_products() -> None:
    achievable = ranking_metrics(lists([1, 9, 8]), ragged([1]), 3)["ndcg"][0]
    full = ranking_metrics(lists([1, 9, 8]), ragged([1]), 3, RECTOOLS_DEFAULT)["ndcg"][0]
    assert (achievable, full) == (1.0, pytest.approx(1 / (1 + 1 / log2(3) + 1 / log2(4)), rel=1e-15))


def test_no_recommendations_score_zero_and_nothing_relevant_is_not_judged() -> None:
    for name, values in ranking_metrics(lists([-1, -1], [3, 4]), ragged([3], []), k=2).items():
        assert values[0] == 0, name
        assert np.isnan(values[1]), name


def test_lists_narrower_and_wider_than_k() -> None:
    narrow = ranking_metrics(lists([3]), ragged([3, 4]), k=3)
    wide = ranking_metrics(lists([3, -1, -1, 4]), ragged([3, 4]), k=3)
    for name in RANKING_METRICS:
        assert narrow[name][0] == wide[name][0], name


@pytest.mark.parametrize(
    ("recommended", "truth", "k", "message"),
    [
        (lists([3, 3]), ragged([3]), 2, "row 0 of recommended names a product twice"),
        (lists([3, 4]), ragged([3, 3]), 2, "truth names a product twice"),
        (lists([3, 4]), ragged([3], [4]), 2, "one row per user"),
        (lists([3, 4]), ragged([3]), 0, "k must be at least 1"),
    ],
)
def test_refuses_what_would_count_wrongly(recommended: np.ndarray, truth: Ragged, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_metrics(recommended, truth, k)


def naive(recommended: np.ndarray, truth: Ragged, k: int) -> dict[str, list[float]]:
    """Every definition as a loop over one user's list."""
    results: dict[str, list[float]] = {name: [] for name in RANKING_METRICS}
    for row in range(len(truth)):
        relevant = set(truth.row(row).tolist())
        hits = [int(product in relevant and product >= 0) for product in recommended[row].tolist()[:k]]
        if not relevant:
            for values in results.values():
                values.append(math.nan)
            continue
        cap = min(k, len(relevant))
        gain = sum(hit / log2(rank + 1) for rank, hit in enumerate(hits, 1))
        precisions = [sum(hits[:rank]) / rank for rank, hit in enumerate(hits, 1) if hit]
        first = next((rank for rank, hit in enumerate(hits, 1) if hit), None)
        results["ndcg"].append(gain / sum(1 / log2(rank + 1) for rank in range(1, cap + 1)))
        results["recall"].append(sum(hits) / len(relevant))
        results["capped_recall"].append(sum(hits) / cap)
        results["precision"].append(sum(hits) / k)
        results["hit_rate"].append(float(any(hits)))
        results["mrr"].append(0.0 if first is None else 1 / first)
        results["map"].append(sum(precisions) / cap)
    return results


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Ragged, int]:
    n_products, width, k = draw(st.integers(1, 12)), draw(st.integers(1, 8)), draw(st.integers(1, 10))
    product = st.integers(0, n_products - 1)
    rows = draw(st.lists(st.tuples(st.lists(product, unique=True), st.lists(product, unique=True)), min_size=1))
    recommended = np.full((len(rows), width), -1, dtype=np.int32)
    for row, (listed, _) in enumerate(rows):
        places = draw(st.permutations(range(width)))[: len(listed)]
        for place, chosen in zip(places, listed, strict=False):
            recommended[row, place] = chosen
    return recommended, ragged(*(wanted for _, wanted in rows)), k


@given(cases())
@settings(max_examples=300, deadline=None)
def test_equals_a_naive_loop(case: tuple[np.ndarray, Ragged, int]) -> None:
    metrics, expected = ranking_metrics(*case), naive(*case)
    for name in RANKING_METRICS:
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-12, atol=0, err_msg=name)


@given(cases(), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_does_not_depend_on_how_users_are_chunked(case: tuple[np.ndarray, Ragged, int], size: int) -> None:
    recommended, truth, k = case
    whole = ranking_metrics(recommended, truth, k)
    parts = [
        ranking_metrics(
            recommended[i : i + size], ragged(*(truth.row(r) for r in range(i, min(i + size, len(truth))))), k
        )
        for i in range(0, len(truth), size)
    ]
    for name in RANKING_METRICS:
        np.testing.assert_array_equal(whole[name], np.concatenate([part[name] for part in parts]), err_msg=name)


def random_shop(seed: int, users: int = 300, products: int = 400) -> tuple[np.ndarray, sparse.csr_matrix, Ragged]:
    """Scores without ties, truth as matrix and ragged; a few users have nothing relevant."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(products, dtype=np.float64), (users, 1)), axis=1)
    truth = sparse.random(users, products, density=0.01, format="csr", random_state=seed)
    truth.data[:] = 1.0
    truth.sort_indices()
    rows = Ragged(truth.indptr.astype(np.int64), truth.indices.astype(np.int32))
    # Relevant products score somewhat higher, so that there are hits to count.
    scores += 150 * truth.toarray() * rng.random((users, products))
    return scores, truth, rows


def ranked(scores: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_equals_irspack(k: int) -> None:
    scores, truth, rows = random_shop(1)
    ours = ranking_metrics(ranked(scores, k), rows, k, MetricOptions(map_denominator="relevant"))
    for capped, recall in ((False, "recall"), (True, "capped_recall")):
        judged = np.flatnonzero(np.diff(truth.indptr))
        core = EvaluatorCore(truth[judged].astype(np.float64), [])
        peer = core.get_metrics_f64(np.ascontiguousarray(scores[judged]), k, 0, 1, capped).as_dict()
        pairs = {"ndcg": "ndcg", "map": "map", "precision": "precision", "hit": "hit_rate", "recall": recall}
        assert peer["valid_user"] == len(judged)
        for name, mine in pairs.items():
            assert ours[mine][judged].mean() == pytest.approx(peer[name], rel=1e-12), name


class _Answers:
    """The least of a model that implicit's evaluation asks for."""

    def __init__(self, recommended: np.ndarray) -> None:
        self.recommended = recommended

    def recommend(self, users: np.ndarray, *_: object, **__: object) -> tuple[np.ndarray, np.ndarray]:
        return self.recommended[users], np.ones_like(self.recommended[users], dtype=np.float32)


def test_equals_implicit() -> None:
    scores, truth, rows = random_shop(2)
    recommended = ranked(scores, 10)
    ours = ranking_metrics(recommended, rows, 10)
    peer = implicit.evaluation.ranking_metrics_at_k(
        _Answers(recommended), sparse.csr_matrix(truth.shape), truth, K=10, show_progress=False, num_threads=1
    )
    assert np.nanmean(ours["ndcg"]) == pytest.approx(peer["ndcg"], rel=1e-12)
    assert np.nanmean(ours["map"]) == pytest.approx(peer["map"], rel=1e-12)
    # Its "precision" is micro-averaged capped recall: hits of all users over places that could have been hits.
    reachable = np.minimum(np.diff(rows.indptr), 10)
    micro = np.nansum(ours["capped_recall"] * reachable) / reachable.sum()
    assert micro == pytest.approx(peer["precision"], rel=1e-12)


@pytest.mark.parametrize("k", [3, 10, 400])
def test_equals_sklearn(k: int) -> None:
    scores, truth, rows = random_shop(3, users=60)
    judged = np.flatnonzero(np.diff(truth.indptr))
    ours = ranking_metrics(ranked(scores, k), rows, k)
    assert ours["ndcg"][judged].mean() == pytest.approx(
        ndcg_score(truth.toarray()[judged], scores[judged], k=k, ignore_ties=True), rel=1e-12
    )
    if k == 400:
        peer = [average_precision_score(truth.toarray()[row], scores[row]) for row in judged]
        np.testing.assert_allclose(ours["map"][judged], peer, rtol=1e-12)
