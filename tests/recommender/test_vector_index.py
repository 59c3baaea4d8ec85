"""The inverted file against brute force, and the recommender that uses it against the one that looks at everything."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.recommender import vector_index
from lambda_api.recommender.bundle import read_bundle, write_bundle
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.vector_index import VectorIndex
from recsys_assets.models.vector_index import build_index

N, WIDTH = 6_000, 16


def shop_vectors(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Vectors as a shop has them: topics of very unequal size, lengths that follow unequal popularity, some of zero."""
    generator = np.random.default_rng(seed)
    topics = max(4, count // 100)
    parents = generator.normal(size=(8, width))
    centres = 0.7 * parents[generator.integers(8, size=topics)] + 0.7 * generator.normal(size=(topics, width))
    chance = 1 / np.arange(1, topics + 1) ** 0.8
    topic = generator.choice(topics, size=count, p=chance / chance.sum())
    vectors = centres[topic] + 0.6 * generator.normal(size=(count, width))
    vectors *= np.minimum(generator.lognormal(0, 0.8, size=count), 8)[:, None] / np.sqrt(width)
    vectors[generator.random(count) < 0.02] = 0
    return vectors.astype(np.float32)


def brute_force(
    vectors: np.ndarray, query: np.ndarray, k: int, allowed: np.ndarray, cosine: bool = False
) -> tuple[list[int], list[float]]:
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    if cosine:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        allowed = allowed & (lengths > 0)
        scores = scores / np.where(lengths > 0, lengths, 1)
    order = [product for product in np.argsort(-scores, kind="stable") if allowed[product]][:k]
    return order, [float(scores[product]) for product in order]


VECTORS = shop_vectors(N, WIDTH)
INDEX = build_index(VECTORS, seed=1)


def test_the_index_holds_every_vector_once_and_says_what_its_lists_are() -> None:
    assert np.array_equal(np.sort(INDEX.members), np.arange(N))
    assert np.array_equal(INDEX.rows(np.arange(N, dtype=np.int32)), VECTORS)
    assert np.array_equal(INDEX.vectors, VECTORS[INDEX.members])
    for row in range(0, len(INDEX.spread), 7):
        place = slice(INDEX.starts[row], INDEX.starts[row + 1])
        assert (np.diff(INDEX.members[place]) > 0).all()
        assert INDEX.centroids[row] == pytest.approx(INDEX.vectors[place].mean(axis=0), abs=1e-5)
        assert INDEX.spread[row] == pytest.approx(np.sqrt(INDEX.vectors[place].var(axis=0).mean()), abs=1e-4)
    again = build_index(VECTORS, seed=1)
    assert all(np.array_equal(array, again.arrays()[name]) for name, array in INDEX.arrays().items())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 150),
    banned=st.sampled_from([0, 5, 300]),
    whitelist=st.sampled_from(["none", "all", "mask", "list", "few", "nothing"]),
    cosine=st.booleans(),
    exact_below=st.sampled_from([0, 100, 20_000]),
)
def test_looking_at_everything_equals_brute_force(
    seed: int, k: int, banned: int, whitelist: str, cosine: bool, exact_below: int
) -> None:
    generator = np.random.default_rng(seed)
    query = generator.normal(size=WIDTH).astype(np.float32)
    exclude = generator.integers(N, size=banned).astype(np.int32)
    allowed = np.ones(N, dtype=bool)
    if whitelist in ("mask", "list", "few", "nothing"):
        allowed = generator.random(N) < {"mask": 0.4, "list": 0.3, "few": 0.01, "nothing": 0.0}[whitelist]
    given_list = {"none": None, "list": np.flatnonzero(allowed).astype(np.int32)}.get(whitelist, allowed)
    original, vector_index.EXACT_BELOW = vector_index.EXACT_BELOW, exact_below
    try:
        found, scores = INDEX.search(query, k, exclude=exclude, allowed=given_list, share=1.0, cosine=cosine)
    finally:
        vector_index.EXACT_BELOW = original
    free = allowed.copy()
    free[exclude] = False
    expected, values = brute_force(VECTORS, query, k, free, cosine)
    assert scores.tolist() == pytest.approx(values, abs=1e-4)
    # float32 sums may swap neighbours whose exact scores differ by less than its precision, and nothing else.
    swapped = [place for place, pair in enumerate(zip(found.tolist(), expected, strict=True)) if pair[0] != pair[1]]
    exact = VECTORS.astype(np.float64) @ query.astype(np.float64)
    if cosine:
        exact = exact / np.maximum(np.linalg.norm(VECTORS.astype(np.float64), axis=1), 1e-30)
    assert all(abs(exact[found[place]] - values[place]) < 1e-5 for place in swapped)
    assert free[found].all() and len(set(found.tolist())) == len(found)


def test_equal_scores_are_ranked_by_product_whatever_list_they_lie_in() -> None:
    base = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    vectors = np.tile(base, (30, 1))
    index = build_index(vectors, lists=20)
    query = base[7]
    for share in (0.2, 1.0):
        found, scores = index.search(query, 60, share=share)
        assert np.array_equal(found, found[np.lexsort((found, -scores))])
        ties = found[scores == scores[0]]
        assert ties.tolist() == sorted(np.flatnonzero((vectors == vectors[found[0]]).all(axis=1)).tolist())


def test_a_score_does_not_depend_on_which_lists_were_looked_at() -> None:
    query = VECTORS[3] + VECTORS[4]
    every = INDEX.scores(query)
    for share in (0.02, 0.1, 0.5, 1.0):
        found, scores = INDEX.search(query, 50, share=share)
        assert np.array_equal(scores, every[found])


@pytest.mark.parametrize(("share", "floor"), [(0.04, 0.92), (0.06, 0.95), (0.1, 0.98)])
def test_recall_of_the_best_100_on_vectors_as_a_shop_has_them(share: float, floor: float) -> None:
    vectors = shop_vectors(20_000, 32, seed=5)
    index = build_index(vectors, lists=400)
    model, shoppers = recommender(vectors, index), histories(60, 20_000)
    recalls, looked_at = [], []
    for query in model.shopper_factors(shoppers).astype(np.float32)[model.knows(shoppers)]:
        truth, _ = brute_force(vectors, query, 100, np.ones(len(vectors), dtype=bool))
        found, _ = index.search(query, 100, share=share)
        recalls.append(len(set(truth) & set(found.tolist())) / 100)
        seen = np.cumsum(np.diff(index.starts)[index._order(query, False)])
        looked_at.append(seen[np.searchsorted(seen, share * len(vectors))] / len(vectors))
    print(f"share {share}: recall@100 {np.mean(recalls):.4f}, worst {min(recalls)}")
    assert np.mean(recalls) >= floor
    assert np.mean(looked_at) < share + 0.05


def test_a_narrow_search_widens_until_it_has_k() -> None:
    query = VECTORS[11]
    mask = np.zeros(N, dtype=bool)
    # What is allowed lies as far from the query as it can.
    mask[np.argsort(VECTORS @ query)[:400]] = True
    original, vector_index.EXACT_BELOW = vector_index.EXACT_BELOW, 10
    try:
        found, _ = INDEX.search(query, 300, allowed=mask, share=0.01)
        assert len(found) == 300 and mask[found].all()
        assert len(INDEX.search(query, 500, allowed=mask, share=0.01)[0]) == 400
    finally:
        vector_index.EXACT_BELOW = original


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": np.zeros(N, dtype=np.int32)}, "every product once"),
        ({"starts": INDEX.starts[:-1]}, "same lists"),
        ({"starts": np.append(INDEX.starts[:-1], N - 1)}, "cover its"),
        ({"norms": INDEX.norms[:-1]}, "norms"),
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(change: dict[str, object], message: str) -> None:
    parts = {name: getattr(INDEX, name) for name in ("members", "starts", "centroids", "spread", "norms", "share")}
    with pytest.raises(ValueError, match=message):
        VectorIndex(INDEX.vectors, **{**parts, **change})


def recommender(vectors: np.ndarray, index: VectorIndex | None) -> FactorRecommender:
    products = IdMap.from_ids(f"p{number}" for number in range(len(vectors)))
    popularity = np.random.default_rng(2).lognormal(size=len(vectors)).astype(np.float32)
    popularity[::5] = 1.0
    exact = vectors.astype(np.float64)
    weighting = EventWeighting((1.0, 2.0, 4.0, 4.0), half_life_days=30.0)
    return FactorRecommender(
        products, popularity, vectors if index is None else index, exact.T @ exact, weighting, 3, 2
    )


def histories(shoppers: int, products: int, seed: int = 3) -> Histories:
    """Shoppers of a few events each; every sixth has none."""
    generator = np.random.default_rng(seed)
    lengths = [0 if row % 6 == 5 else int(generator.integers(1, 40)) for row in range(shoppers)]
    total = sum(lengths)
    return Histories(
        user_ids=tuple(f"u{row}" for row in range(shoppers)),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        products=generator.integers(products, size=total).astype(np.int32),
        types=generator.integers(4, size=total).astype(np.int8),
        timestamps=np.zeros(total, dtype=np.int64),
        now=10,
    )


def test_with_a_complete_search_the_recommender_answers_as_without_an_index(tmp_path: Path) -> None:
    index = build_index(VECTORS, seed=1, share=1.0)
    plain, indexed = recommender(VECTORS, None), recommender(VECTORS, index)
    write_bundle(indexed, tmp_path / "bundle")
    restored = read_bundle(tmp_path / "bundle").recommender
    batch = histories(30, N)
    exclude = Ragged.from_rows([np.arange(row, N, 500) for row in range(30)])
    mask = np.random.default_rng(9).random(N) < 0.3
    listed = np.random.default_rng(10).permutation(np.flatnonzero(mask)).astype(np.int32)
    for candidates in (None, mask, listed):
        expected = plain.recommend(batch, 12, exclude=exclude, candidates=candidates)
        for model in (indexed, restored):
            found = model.recommend(batch, 12, exclude=exclude, candidates=candidates)
            assert np.array_equal(found.products, expected.products)
            assert found.scores == pytest.approx(expected.scores, rel=1e-4, abs=1e-6)
    probe = np.array([5, 77, 5_999, 0], dtype=np.int32)
    assert restored.score(batch, probe) == pytest.approx(plain.score(batch, probe), rel=1e-4, abs=1e-6)
    assert restored.score_all(batch) == pytest.approx(plain.score_all(batch), rel=1e-4, abs=1e-6)
    cold = np.flatnonzero(~VECTORS.any(axis=1))[:1].astype(np.int32)
    for some in (probe, cold):
        assert np.array_equal(restored.similar_items(some, 9).products, plain.similar_items(some, 9).products)
    assert (restored.similar_items(cold, 9).products == -1).all()
    explained = [
        [(term.product, term.weight) for term in model.explain(batch.rows(0, 1), 77)] for model in (plain, restored)
    ]
    assert [term[0] for term in explained[0]] == [term[0] for term in explained[1]]
    assert [term[1] for term in explained[0]] == pytest.approx([term[1] for term in explained[1]])
    assert np.array_equal(restored.item_factors, plain.item_factors)


def test_a_list_is_the_same_alone_and_in_a_batch_and_short_only_where_nothing_is_left() -> None:
    model = recommender(VECTORS, INDEX)
    batch = histories(12, N)
    together = model.recommend(batch, 20)
    for row in range(12):
        alone = model.recommend(batch.rows(row, row + 1), 20)
        assert np.array_equal(alone.products[0], together.products[row])
        assert np.array_equal(alone.scores[0], together.scores[row])
    assert (together.products >= 0).all()
    few = model.recommend(batch, 20, candidates=np.array([3, 4, 5], dtype=np.int32))
    assert (np.sort(few.products[:, :3], axis=1) == [3, 4, 5]).all() and (few.products[:, 3:] == -1).all()
