"""Profiles, item-to-item scores and fold-in against definitions written out by hand."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import InteractionType
from lambda_api.recommender import factors as factors_module
from lambda_api.recommender import item_weights
from lambda_api.recommender.factors import FactorRecommender, longest_first
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import DenseWeights, SparseWeights
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.topk import top_k
from tests.recommender.explanations import explained

DAY = 86_400
N = 7


def histories(rows: list[list[tuple[int, int, int]]], now: int = 100 * DAY) -> Histories:
    """Rows of (product, type code, day)."""
    rows = [sorted(row, key=lambda event: event[2]) for row in rows]
    flat = [event for row in rows for event in row]
    return Histories(
        user_ids=tuple(f"u{index}" for index in range(len(rows))),
        indptr=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        products=np.array([event[0] for event in flat], dtype=np.int32),
        types=np.array([event[1] for event in flat], dtype=np.int8),
        timestamps=np.array([event[2] * DAY for event in flat], dtype=np.int64),
        now=now,
    )


shoppers = st.lists(
    st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, 3), st.integers(0, 90)), max_size=9),
    min_size=1,
    max_size=5,
)
weightings = st.builds(
    EventWeighting,
    type_weights=st.sampled_from([(1.0, 2.0, 4.0, 4.0), (0.0, 0.0, 1.0, 0.0), (0.25, 0.5, 1.0, 0.0)]),
    half_life_days=st.sampled_from([None, 1.0, 30.0]),
    step_decay=st.sampled_from([1.0, 0.5]),
    combine=st.sampled_from(["sum", "max"]),
)


def expected_profile(row: list[tuple[int, int, int]], weighting: EventWeighting) -> dict[int, float]:
    """The definition in `EventWeighting`, event by event."""
    counted = [event for event in row if weighting.type_weights[event[1]] > 0]
    days = sorted({event[2] for event in counted})
    weights: dict[int, list[float]] = {}
    for product, kind, day in counted:
        weight = weighting.type_weights[kind] * weighting.step_decay ** (len(days) - 1 - days.index(day))
        if weighting.half_life_days is not None:
            weight *= 0.5 ** ((days[-1] - day) / weighting.half_life_days)
        weights.setdefault(product, []).append(weight)
    combine = sum if weighting.combine == "sum" else max
    return {product: combine(parts) for product, parts in sorted(weights.items())}


@given(shoppers, weightings)
def test_profiles_follow_their_definition(rows: list[list[tuple[int, int, int]]], weighting: EventWeighting) -> None:
    profiles = weighting.profiles(histories(rows))
    known = weighting.knows(histories(rows))
    for index, row in enumerate(rows):
        expected = expected_profile(row, weighting)
        pairs = slice(profiles.indptr[index], profiles.indptr[index + 1])
        assert profiles.products[pairs].tolist() == list(expected)
        assert profiles.weights[pairs] == pytest.approx(list(expected.values()), rel=1e-9)
        assert known[index] == bool(expected)
    assert EventWeighting.from_parameters(weighting.parameters()) == weighting


def test_an_event_of_long_ago_still_counts() -> None:
    weighting = EventWeighting(half_life_days=0.001)
    profiles = weighting.profiles(histories([[(0, 0, 0), (1, 0, 90)]]))
    assert (profiles.weights.astype(np.float32) > 0).all()
    assert weighting.profiles(histories([[(0, 0, 0)]], now=10**9)).weights.tolist() == [1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"type_weights": (1.0,)}, "type_weights needs 4 values"),
        ({"type_weights": (0.0,) * 4}, "not all 0"),
        ({"type_weights": (1.0, -1.0, 0.0, 0.0)}, ">= 0"),
        ({"type_weights": (1.0, float("nan"), 0.0, 0.0)}, "finite"),
        ({"half_life_days": 0.0}, "half_life_days"),
        ({"half_life_days": float("inf")}, "half_life_days"),
        ({"step_decay": 0.0}, "step_decay"),
        ({"step_decay": 1.1}, "step_decay"),
        ({"combine": "mean"}, "combine"),
    ],
)
def test_weightings_out_of_range_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EventWeighting(**arguments)  # type: ignore[arg-type]


def products(count: int = N) -> IdMap:
    return IdMap.from_ids(f"p{index}" for index in range(count))


def sparse(dense: np.ndarray) -> SparseWeights:
    rows, columns = np.nonzero(dense)
    counts = np.bincount(rows, minlength=len(dense))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return SparseWeights(indptr, columns.astype(np.int32), dense[rows, columns].astype(np.float32))


def matrix(seed: int, keep: float = 0.4) -> np.ndarray:
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(N, N)) * (generator.random((N, N)) < keep)
    return weights.astype(np.float32)


@settings(max_examples=60)
@given(shoppers, weightings, st.integers(0, 5), st.booleans(), st.sampled_from([1, 10, 10_000]))
def test_item_to_item_scores_are_profile_times_weights(
    rows: list[list[tuple[int, int, int]]], weighting: EventWeighting, seed: int, prior: bool, chunk: int
) -> None:
    dense = matrix(seed)
    trend = np.linspace(1, 2, N, dtype=np.float32) if prior else None
    popularity = np.arange(N, dtype=np.float32)
    batch = histories(rows)
    expected = np.zeros((len(rows), N))
    for index, row in enumerate(rows):
        for product, weight in expected_profile(row, weighting).items():
            expected[index] += weight * dense[product] * (1 if trend is None else trend)
    original, item_weights.GATHERED_PER_CHUNK = item_weights.GATHERED_PER_CHUNK, chunk
    try:
        for weights in (DenseWeights(dense), sparse(dense)):
            model = ItemToItemRecommender(products(), popularity, weights, weighting, trend)
            assert model.score_all(batch) == pytest.approx(expected, rel=1e-5, abs=1e-5)
            for product in range(N):
                terms = explained(model, batch.rows(0, 1), product)
                wanted = {
                    past: weight * float(dense[past, product]) * (1.0 if trend is None else float(trend[product]))
                    for past, weight in expected_profile(rows[0], weighting).items()
                    if dense[past, product] != 0
                }
                assert terms == pytest.approx(wanted, rel=1e-5)
    finally:
        item_weights.GATHERED_PER_CHUNK = original


@settings(max_examples=60)
@given(
    shoppers,
    weightings,
    st.integers(0, 5),
    st.lists(st.integers(0, N - 1), unique=True, max_size=N),
    st.lists(st.integers(0, N - 1), unique=True, max_size=N),
)
def test_a_few_columns_are_those_of_all(
    rows: list[list[tuple[int, int, int]]], weighting: EventWeighting, seed: int, past: list[int], asked: list[int]
) -> None:
    dense = matrix(seed)
    profiles = weighting.profiles(histories(rows))
    some = np.array(asked, dtype=np.int32)
    for weights in (DenseWeights(dense), sparse(dense)):
        assert (weights.block(np.array(past, dtype=np.int32), some) == dense[np.ix_(past, asked)]).all()
        assert (weights.scores_of(profiles, some) == weights.scores(profiles)[:, some]).all(), "to the last bit"


def test_likeness_is_symmetric_and_between_nothing_and_the_same() -> None:
    dense = np.array([[9, 1, 2, -3], [0, 5, 0, 0], [4, 4, 1, 4], [0, 0, 0, 0]], dtype=np.float32)
    some = np.array([2, 0, 3], dtype=np.int32)
    for weights in (DenseWeights(dense), sparse(dense)):
        model = ItemToItemRecommender(products(4), np.ones(4, np.float32), weights, EventWeighting())
        # 2 -> 0 and 2 -> 3 weigh 4, the largest; 0 -> 3 is negative.
        assert model.likeness(some).tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 1]]
    factors = np.array([[1, 0], [3, 4], [-1, 0], [0, 0]], dtype=np.float32)
    folded = FactorRecommender(products(4), np.ones(4, np.float32), factors, np.eye(2), EventWeighting(), 1.0, 1.0)
    alike = folded.likeness(np.arange(4, dtype=np.int32))
    expected = [[1, 0.6, 0, 0], [0.6, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert alike == pytest.approx(np.array(expected))
    plain = PopularityRecommender(products(4), np.ones(4, np.float32))
    assert plain.likeness(some).tolist() == np.eye(3).tolist()


def test_similar_items_are_rows_without_themselves_and_without_negatives() -> None:
    dense = np.array([[9, 1, 2, -3], [0, 5, 0, 0], [4, 4, 1, 4], [0, 0, 0, 0]], dtype=np.float32)
    for weights in (DenseWeights(dense), sparse(dense)):
        model = ItemToItemRecommender(products(4), np.ones(4, np.float32), weights, EventWeighting())
        similar = model.similar_items(np.arange(4, dtype=np.int32), 3)
        assert similar.products.tolist() == [[2, 1, -1], [-1, -1, -1], [0, 1, 3], [-1, -1, -1]]
        assert similar.scores[0].tolist() == [2.0, 1.0, -np.inf]


def test_popular_padding_keeps_an_order_float32_cannot_scale() -> None:
    popularity = np.array([1e30, 1e-30, 2e-30, 0, 5e8, 1.0, 1.0], dtype=np.float32)
    weights = sparse(np.zeros((N, N), dtype=np.float32))
    model = ItemToItemRecommender(products(), popularity, weights, EventWeighting())
    assert model.recommend(histories([[(0, 2, 1)]]), N).products.tolist() == [[0, 4, 5, 6, 2, 1, 3]]


@settings(max_examples=40)
@given(shoppers, weightings, st.integers(0, 3))
def test_fold_in_solves_the_weighted_ridge_regression(
    rows: list[list[tuple[int, int, int]]], weighting: EventWeighting, seed: int
) -> None:
    """Oracle: the normal equations over every product, confidence 1 where the shopper has nothing."""
    factors = np.random.default_rng(seed).normal(size=(N, 3)).astype(np.float32)
    factors[2] = 0
    exact = factors.astype(np.float64)
    model = FactorRecommender(products(), np.ones(N, np.float32), factors, exact.T @ exact, weighting, 0.7, 3.0)
    batch = histories(rows)
    found = model.score_all(batch)
    for index, row in enumerate(rows):
        profile = expected_profile(row, weighting)
        confidence = np.ones(N)
        preference = np.zeros(N)
        for product, weight in profile.items():
            confidence[product], preference[product] = 1 + 3.0 * weight, 1
        left = exact.T @ np.diag(confidence) @ exact + 0.7 * np.eye(3)
        vector = np.linalg.solve(left, exact.T @ (confidence * preference))
        assert found[index] == pytest.approx(exact @ vector, rel=1e-4, abs=1e-5)
        for product in (0, 2):
            terms = explained(model, batch.rows(index, index + 1), product)
            assert sum(terms.values()) == pytest.approx(float(found[index, product]), abs=1e-5)
            warm = {past for past in profile if exact[past].any()}
            assert terms.keys() == (warm if exact[product].any() else set())


def test_similar_factors_are_by_cosine_and_cold_products_by_nothing() -> None:
    factors = np.array([[1, 0], [5, 0.1], [0, 2], [-1, 0], [0, 0], [1, 1], [0, 0]], dtype=np.float32)
    model = FactorRecommender(
        products(), np.ones(N, np.float32), factors, np.eye(2, dtype=np.float64), EventWeighting(), 1.0, 1.0
    )
    similar = model.similar_items(np.array([0, 4], dtype=np.int32), 5)
    assert similar.products.tolist() == [[1, 5, 2, 3, -1], [-1] * 5]
    assert similar.scores[0, :3] == pytest.approx([5 / np.sqrt(25.01), 1 / np.sqrt(2), 0], abs=1e-6)


def test_similar_to_any_product_are_the_popular_others() -> None:
    model = PopularityRecommender(products(4), np.array([3, 9, 1, 4], dtype=np.float32))
    similar = model.similar_items(np.array([1, 2, 0], dtype=np.int32), 2)
    assert similar.products.tolist() == [[3, 0], [1, 3], [1, 3]]
    assert similar.scores.tolist() == [[4, 3], [9, 4], [9, 4]]
    assert model.similar_items(np.array([1], dtype=np.int32), 5).products.tolist() == [[3, 0, 2, -1, -1]]


def test_shapes_that_disagree_are_refused() -> None:
    popularity = np.ones(N, np.float32)
    with pytest.raises(ValueError, match="popularity must have shape"):
        PopularityRecommender(products(), np.ones(3, np.float32))
    with pytest.raises(ValueError, match="weights of 2 products for a map of 7"):
        ItemToItemRecommender(products(), popularity, DenseWeights(np.eye(2, dtype=np.float32)), EventWeighting())
    with pytest.raises(ValueError, match="square"):
        DenseWeights(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match="indptr"):
        SparseWeights(np.array([0, 2]), np.array([0], dtype=np.int32), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="prior"):
        weights = DenseWeights(np.eye(N, dtype=np.float32))
        ItemToItemRecommender(products(), popularity, weights, EventWeighting(), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="item_factors"):
        FactorRecommender(products(), popularity, np.ones((2, 2), np.float32), np.eye(2), EventWeighting(), 1, 1)
    with pytest.raises(ValueError, match="gramian"):
        FactorRecommender(products(), popularity, np.ones((N, 2), np.float32), np.eye(3), EventWeighting(), 1, 1)
    with pytest.raises(ValueError, match="positive"):
        FactorRecommender(products(), popularity, np.ones((N, 2), np.float32), np.eye(2), EventWeighting(), 0, 1)


def test_unweighted_types_are_no_history() -> None:
    weighting = EventWeighting(type_weights=(0.0, 0.0, 1.0, 0.0))
    viewer = histories([[(3, int(InteractionType.VIEW), 5)]])
    model = ItemToItemRecommender(products(), np.arange(N, dtype=np.float32), DenseWeights(matrix(1)), weighting)
    assert model.recommend(viewer, N).products.tolist() == [[6, 5, 4, 3, 2, 1, 0]]


@settings(max_examples=40)
@given(st.integers(0, 1_000), st.sampled_from(["all", "mask", "few", "none"]), st.integers(1, 40), st.booleans())
def test_scoring_the_longest_factors_first_finds_the_same_products_as_scoring_all(
    seed: int, allowed: str, k: int, stored: bool
) -> None:
    """Oracle: every score, sorted. Lengths of factors differ as in a shop, some are zero, and there are equal ones."""
    generator = np.random.default_rng(seed)
    count = 900
    vectors = generator.normal(size=(count, 6)) * generator.lognormal(0, 1, size=(count, 1))
    vectors[generator.random(count) < 0.1] = 0
    vectors = np.repeat(vectors[: count // 3], 3, axis=0).astype(np.float32)
    popularity = generator.lognormal(size=count).astype(np.float32)
    exact = vectors.astype(np.float64)
    model = FactorRecommender(products(count), popularity, vectors, exact.T @ exact, EventWeighting(), 1.0, 2.0)
    if stored:
        rows, order, lengths = longest_first(vectors)
        model = FactorRecommender(
            model.products, popularity, rows, exact.T @ exact, EventWeighting(), 1.0, 2.0, order, lengths
        )
        assert np.array_equal(model.item_factors, vectors)
    batch = histories([[(int(product), 0, day) for day, product in enumerate(generator.integers(count, size=5))], []])
    share = {"all": 1.0, "mask": 0.4, "few": 0.02, "none": 0.0}[allowed]
    free = generator.random(count) < share
    exclude = Ragged.from_rows([generator.integers(count, size=30)] * 2)
    with patch.object(factors_module, "PRODUCTS_PER_CHUNK", 64):
        found = model.recommend(batch, k, exclude=exclude, candidates=None if allowed == "all" else free)
        scores = model.score_all(batch)
    scores[1] = popularity
    scores[:, ~free if allowed != "all" else []] = -np.inf
    scores[:, exclude.row(0)] = -np.inf
    expected, values = top_k(scores, k)
    assert found.products.tolist() == expected.tolist()
    assert found.scores.tolist() == values.tolist()


@given(st.integers(0, 500), st.integers(1, 6))
def test_top_k_of_long_rows_equals_a_sort(seed: int, k: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 40, size=(2, 1_000)).astype(np.float32)
    scores[1, : 900 + seed % 101] = -np.inf
    chosen, values = top_k(scores, k)
    for row in range(2):
        order = np.argsort(-scores[row], kind="stable")[:k]
        real = scores[row, order] > -np.inf
        assert chosen[row].tolist() == np.where(real, order, -1).tolist()
        assert values[row].tolist() == scores[row, order].tolist()
