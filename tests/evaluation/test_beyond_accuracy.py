"""Coverage, novelty, diversity and popularity bias against sums worked by hand and brute force."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lambda_api.recommender.ids import IdMap
from recsys_assets.measurement.beyond_accuracy import (
    POPULARITY_BANDS,
    ProductStatistics,
    beyond_accuracy,
    content_vectors,
    gini,
    intra_list_diversity,
)
from tests.evaluation.helpers import catalogue, lists


def facts(
    users: list[int], events: list[int], n_users: int = 8, candidates: list[bool] | None = None
) -> ProductStatistics:
    n = len(users)
    return ProductStatistics(
        candidates=np.array(candidates if candidates is not None else [True] * n),
        users=np.array(users),
        events=np.array(events),
        n_users=n_users,
        vectors=sparse.csr_matrix(np.eye(n)),
        sales=np.array(events),
    )


def test_hand_computed_measures() -> None:
    # Eight users; products seen by 8, 4, 2, 1 and 0 of them. Events 10, 6, 2, 1, 0: the first two hold 16/19 >= 80 %.
    known = facts([8, 4, 2, 1, 0], [10, 6, 2, 1, 0])
    result = beyond_accuracy(lists([0, 1], [0, 3], [-1, -1], [4, -1]), known)
    np.testing.assert_allclose(result.per_user["novelty"], [(0 + 1) / 2, (0 + 3) / 2, np.nan, 3])
    shares = [float((Fraction(8, 8) + Fraction(4, 8)) / 2), float((1 + Fraction(1, 8)) / 2), np.nan, 0.0]
    np.testing.assert_allclose(result.per_user["average_popularity"], shares)
    np.testing.assert_allclose(result.per_user["tail_share"], [0, 1 / 2, np.nan, 1])
    assert result.coverage == 4 / 5
    # Listed 0, 1, 1, 1, 2 times: sum((2j - n - 1) x_j) = -2 + 0 + 2 + 8 = 8, over n * total = 25.
    assert result.gini == pytest.approx(8 / 25)


def test_head_is_the_smallest_set_that_holds_the_share() -> None:
    np.testing.assert_array_equal(facts([1] * 5, [50, 30, 10, 10, 0]).head, [True, True, False, False, False])
    np.testing.assert_array_equal(facts([1] * 4, [1, 1, 1, 1]).head, [True, True, True, True])
    assert not facts([0] * 3, [0, 0, 0]).head.any()


def test_only_candidates_count_for_coverage() -> None:
    known = facts([4, 4, 4, 4], [1, 1, 1, 1], candidates=[True, True, False, False])
    assert beyond_accuracy(lists([0, 2]), known).coverage == 1 / 2


def test_exposure_adds_up_and_follows_popularity() -> None:
    n = 200
    known = facts([1] * n, list(range(n, 0, -1)))
    result = beyond_accuracy(lists([0, 1, 2, 150]), known)
    # Bands end at 2, 4, 10, 20, 40, 100 and 200 products.
    assert result.exposure == (2 / 4, 1 / 4, 0, 0, 0, 0, 1 / 4)
    assert len(POPULARITY_BANDS) == len(result.exposure)


def test_nothing_listed_is_said_so() -> None:
    result = beyond_accuracy(lists([-1, -1]), facts([1, 1], [1, 1]))
    assert result.coverage == 0
    assert np.isnan(result.gini)
    assert result.exposure == (0.0,) * len(POPULARITY_BANDS)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_gini_is_half_the_relative_mean_difference(amounts: list[int]) -> None:
    n, total = len(amounts), sum(amounts)
    brute = sum(abs(x - y) for x in amounts for y in amounts) / (2 * n * total)
    assert gini(np.array(amounts, dtype=float)) == pytest.approx(brute, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_diversity_equals_brute_force_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.random((12, 5)) * (rng.random((12, 5)) < 0.6)
    lengths = np.linalg.norm(dense, axis=1, keepdims=True)
    dense = np.divide(dense, lengths, out=np.zeros_like(dense), where=lengths > 0)
    recommended = np.stack([rng.permutation(12)[:4] for _ in range(6)]).astype(np.int32)
    recommended[rng.random(recommended.shape) < 0.2] = -1
    measured = intra_list_diversity(recommended, sparse.csr_matrix(dense))
    for row, listed in enumerate(recommended):
        usable = [product for product in listed if product >= 0 and dense[product].any()]
        distances = [1 - dense[a] @ dense[b] for a, b in combinations(usable, 2)]
        if distances:
            assert measured[row] == pytest.approx(np.mean(distances), abs=1e-9)
        else:
            assert np.isnan(measured[row])


def distance(vectors: sparse.csr_matrix, products: IdMap, a: str, b: str) -> float:
    dense = vectors.toarray()
    i, j = products.indices([a, b])
    return float(1 - dense[i] @ dense[j])


def test_category_and_brand_make_distances_of_zero_half_and_one() -> None:
    ids = ["a", "b", "c", "d", "bare"]
    products = IdMap.from_ids([*ids, "unlisted"])
    table = catalogue(ids, category=["mug", "mug", "mug", "lamp", None], brand=["x", "x", "y", "z", None])
    vectors = content_vectors(table, products)
    distances = [distance(vectors, products, "a", other) for other in "bcd"]
    np.testing.assert_allclose(distances, [0, 1 / 2, 1], atol=1e-12)
    for empty in ("bare", "unlisted"):
        assert vectors[products.indices([empty])[0]].nnz == 0


def test_names_stand_in_where_there_is_neither_category_nor_brand() -> None:
    products = IdMap.from_ids(["a", "b", "c", "d"])
    names = ["Red spotty mug", "red spotty bowl", "Blue lamp", None]
    vectors = content_vectors(catalogue(["a", "b", "c", "d"], name=names), products)
    assert 0 < distance(vectors, products, "a", "b") < distance(vectors, products, "a", "c") == 1
    assert vectors[products.indices(["d"])[0]].nnz == 0
    np.testing.assert_allclose(np.linalg.norm(vectors.toarray(), axis=1).sum(), 3)
