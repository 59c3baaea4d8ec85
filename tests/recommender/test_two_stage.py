"""Candidates, ranking features and lists of the two-stage recommender, computed by hand on a shop of seven products."""

from typing import Any

import numpy as np
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Event, Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.two_stage import recommender as module
from lambda_api.recommender.two_stage import sources as sources_module
from lambda_api.recommender.two_stage.facts import (
    NEWCOMER_DAYS,
    PRODUCT_FEATURES,
    UNKNOWN,
    WINDOW_DAYS,
    CatalogueFacts,
)
from lambda_api.recommender.two_stage.features import feature_names, ranking_features
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sources import FUSION_OFFSET, NO_RANK, CandidateGenerator, Source
from recsys_assets.models.hybrid_ranker import single_column

DAY = 86_400
NOW = 1_000 * DAY
VIEW, PURCHASE = InteractionType.VIEW, InteractionType.PURCHASE


def facts(n: int, **given: Any) -> CatalogueFacts:
    """Facts of ``n`` products that nobody has touched and nobody describes, but for those ``given``."""
    plain = np.zeros(n, dtype=np.float32)
    values: dict[str, Any] = {
        "counts": np.zeros((n, len(WINDOW_DAYS)), dtype=np.float32),
        "newcomers": np.zeros((n, len(NEWCOMER_DAYS)), dtype=np.float32),
        "trend": np.ones(n, dtype=np.float32),
        "repeat_days": np.full(n, UNKNOWN, dtype=np.float32),
        "log_price": np.full(n, np.nan, dtype=np.float32),
        "category": np.full(n, -1, dtype=np.int32),
        "brand": np.full(n, -1, dtype=np.int32),
        "as_of": NOW,
    }
    names = ("buyers", "repeat_share", "age_days", "idle_days", "conversion", "cart_rate", "buyer_breadth")
    return CatalogueFacts(**{**{name: plain for name in names}, **values, **given})


def weights(n: int, rows: dict[int, dict[int, float]]) -> SparseWeights:
    """Sparse weights ``rows[i][j]``."""
    lengths = [len(rows.get(row, {})) for row in range(n)]
    pairs = [pair for row in range(n) for pair in sorted(rows.get(row, {}).items())]
    return SparseWeights(
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        indices=np.array([column for column, _ in pairs], dtype=np.int32),
        data=np.array([value for _, value in pairs], dtype=np.float32),
    )


def histories(*shoppers: list[tuple[int, InteractionType, float]], n: int = 7) -> Histories:
    """Shoppers' events as (product, type, days before now)."""
    lengths = [len(events) for events in shoppers]
    flat = [event for events in shoppers for event in sorted(events, key=lambda event: -event[2])]
    return Histories(
        user_ids=tuple(f"u{row}" for row in range(len(shoppers))),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        products=np.array([event[0] for event in flat], dtype=np.int32),
        types=np.array([event[1] for event in flat], dtype=np.int8),
        timestamps=np.array([NOW - round(event[2] * DAY) for event in flat], dtype=np.int64),
        now=NOW,
    )


COUNTS = np.zeros((7, len(WINDOW_DAYS)), dtype=np.float32)
COUNTS[4:6] = [[1, 1, 1, 1, 1, 1, 1], [0, 0, 2, 2, 2, 2, 2]]


def generator(
    limit: int = 10, consumed: tuple[InteractionType, ...] = (PURCHASE,), take: int = 2
) -> CandidateGenerator:
    alike = weights(7, {0: {1: 0.5, 2: 0.25, 3: 0.125}, 1: {0: 1.0, 3: 1.0}})
    return CandidateGenerator(
        sources=(
            Source("alike", "graph", take, EventWeighting(), "alike"),
            Source("selling", "trending", take, EventWeighting()),
            Source("own", "again", take, EventWeighting(combine="sum")),
        ),
        graphs={"alike": alike},
        facts=facts(7, counts=COUNTS, trend=np.ones(7, dtype=np.float32)),
        limit=limit,
        consumed_types=consumed,
    )


def test_the_union_has_every_source_score_and_rank() -> None:
    found = generator().candidates(histories([(0, PURCHASE, 3.0), (6, VIEW, 1.0)]))
    # Product 0 leads to 1 and 2 (3 is third of two); 4 and 5 sell; 6 was seen, 0 was bought and is no candidate.
    assert found.products.values.tolist() == [1, 2, 4, 5, 6]
    one_day, week, month = 1.0, 3 / 7, 3 / 30
    selling = [0.0, 0.0, 1 / one_day + (1 / 7) / week + (1 / 30) / month, (2 / 7) / week + (2 / 30) / month, 0.0]
    np.testing.assert_allclose(found.scores[:, 0], [0.5, 0.25, 0, 0, 0])
    np.testing.assert_allclose(found.scores[:, 1], selling, rtol=1e-6)
    np.testing.assert_allclose(found.scores[:, 2], [0, 0, 0, 0, 1])
    assert found.ranks[:, 0].tolist() == [0, 1, NO_RANK, NO_RANK, NO_RANK]
    assert found.ranks[:, 1].tolist() == [NO_RANK, NO_RANK, 0, 1, NO_RANK]
    best, second = 1 / FUSION_OFFSET, 1 / (FUSION_OFFSET + 1)
    np.testing.assert_allclose(found.fusion, [best, second, best, second, best], rtol=1e-6)


def test_equal_scores_share_a_rank_and_the_limit_keeps_the_best_by_fusion() -> None:
    again = histories([(1, VIEW, 1.0)])
    found = generator(consumed=()).candidates(again)
    # 0 and 3 have the same weight from 1.
    place = {int(product): row for row, product in enumerate(found.products.values)}
    assert found.ranks[place[0], 0] == found.ranks[place[3], 0] == 0
    few = generator(limit=3, consumed=()).candidates(again)
    kept = set(few.products.values.tolist())
    lowest = min(found.fusion[place[product]] for product in kept)
    assert all(found.fusion[place[product]] <= lowest for product in place.keys() - kept)
    assert len(kept) == 3


@pytest.mark.parametrize("seed", range(40))
def test_sums_by_cell_and_by_sorting_propose_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n, shoppers = 900, 5
    random = np.random.default_rng(seed)
    rows = {i: {int(j): float(random.random()) for j in random.integers(n, size=8)} for i in range(0, n, 2)}
    # Counts of few values, so that trends tie; in every fourth shop all of the best do.
    sold = random.integers(0, 4 if seed % 4 else 2, size=(n, 1)) * np.ones((1, len(WINDOW_DAYS)))
    sold[random.integers(n, size=30)] += random.random((30, 1)) * (seed % 4 > 0)
    weighting, halved = EventWeighting(), EventWeighting(half_life_days=5.0, combine="sum")
    whole = CandidateGenerator(
        sources=(
            Source("alike", "graph", 12, weighting, "alike", prior=True),
            Source("decayed", "graph", 5, halved, "alike"),
            Source("selling", "trending", 7, weighting),
            Source("shelf", "category", 9, halved),
            Source("own", "again", 3, weighting),
        )[: 5 if seed % 3 else 2],
        graphs={"alike": weights(n, rows)},
        facts=facts(
            n,
            counts=sold.astype(np.float32),
            trend=random.random(n).astype(np.float32),
            category=random.integers(-1, 40, size=n).astype(np.int32),
        ),
        limit=25,
        consumed_types=(PURCHASE,) if seed % 2 else (),
    )
    events = [
        [
            (int(random.integers(n)), InteractionType(int(random.integers(4))), float(random.random() * 30))
            for _ in range(size)
        ]
        for size in random.integers(0, 12, size=shoppers)
    ]
    batch = histories(*events, n=n)
    found = whole.candidates(batch)
    assert whole.candidates(batch) is found, "one history is worked out once"
    monkeypatch.setattr(sources_module, "DENSE_CELLS", 0)
    sparse = whole._united(batch, None)
    for name in ("scores", "ranks", "fusion"):
        assert np.array_equal(getattr(found, name), getattr(sparse, name))
    assert np.array_equal(found.products.indptr, sparse.products.indptr)
    assert np.array_equal(found.products.values, sparse.products.values)
    for row in range(shoppers):
        alone = whole.candidates(batch.rows(row, row + 1))
        assert np.array_equal(alone.products.values, found.products.row(row))
    consumed = batch.distinct_products(whole.consumed_types) if whole.consumed_types else None
    known = np.zeros(n, dtype=bool)
    known[::2] = True
    for row in range(shoppers):
        if consumed is not None:
            assert not np.isin(found.products.row(row), consumed.row(row)).any()
        assert known[whole.candidates(batch, known).products.row(row)].all()


def test_features_by_hand() -> None:
    category = np.array([0, 0, 1, -1, 1, 1, 0], dtype=np.int32)
    prices = np.log(np.array([2.0, 4.0, 8.0, np.nan, 2.0, 2.0, 2.0])).astype(np.float32)
    known = facts(7, counts=COUNTS, category=category, log_price=prices, repeat_days=np.full(7, 10, dtype=np.float32))
    shopper = histories([(0, PURCHASE, 8.0), (0, PURCHASE, 4.0), (6, VIEW, 4.0), (2, VIEW, 1.0)])
    sources = generator(consumed=(), take=6)
    candidates = sources.candidates(shopper)
    rows = ranking_features(shopper, candidates, known)
    names = feature_names(["alike", "selling", "own"])
    assert rows.shape == (len(candidates.products.values), len(names))
    table = {
        int(product): dict(zip(names, row.tolist(), strict=True))
        for product, row in zip(candidates.products.values, rows, strict=True)
    }
    assert set(table) == {0, 1, 2, 3, 4, 5, 6}
    own = table[0]
    assert own["own_events"] == 2
    assert own["own_idle_days"] == 4
    assert own["own_gap_days"] == 4
    assert own["own_rhythm"] == 1, "four days since, four days between"
    assert own["own_strongest"] == 3
    # Moments are 8, 4 and 1 days ago: product 0 was in the first two, so in two of the three since it was first bought.
    assert own["own_moments"] == 2 and own["own_moments_ago"] == 1 and own["own_age_days"] == 8
    assert own["own_share"] == pytest.approx(2 / 3)
    assert table[2]["own_share"] == 1 and table[2]["own_moments_ago"] == 0 and table[1]["own_moments"] == 0
    # The three newest moments hold all four events; only the second purchase of product 0 was nothing new.
    assert own["shopper_novelty"] == 3 / 4 and own["shopper_last_size"] == pytest.approx(np.log(2))
    assert own["shopper_gap_days"] == 3.5 and own["shopper_due"] == pytest.approx(1 / 3.5)
    assert table[6]["own_rhythm"] == pytest.approx(4 / 10), "once only: the product's own rhythm"
    assert table[1]["own_events"] == 0 and table[1]["own_idle_days"] == UNKNOWN
    # Three of four events are in category 0, the last of them four days ago; product 3 has no category.
    assert table[1]["category_share"] == 3 / 4 and table[1]["category_idle_days"] == 4
    assert table[4]["category_share"] == 1 / 4 and table[4]["category_idle_days"] == 1
    assert table[3]["category_share"] == 0 and table[3]["category_idle_days"] == UNKNOWN
    # Events cost 2, 2, 2 and 8: the mean log is log(2) + log(4) / 4, deviation sqrt((sum of squares + 1) / 5).
    mean = np.log(2) + np.log(4) / 4
    squares = 3 * (np.log(4) / 4) ** 2 + (3 * np.log(4) / 4) ** 2
    assert table[1]["price_difference"] == pytest.approx(np.log(4) - mean, rel=1e-5)
    assert table[1]["price_deviations"] == pytest.approx((np.log(4) - mean) / np.sqrt((squares + 1) / 5), rel=1e-5)
    assert table[3]["price_difference"] == 0
    assert table[3]["price"] == UNKNOWN and table[1]["price"] == pytest.approx(4)
    assert own["shopper_events"] == pytest.approx(np.log(5))
    assert own["shopper_products"] == pytest.approx(np.log(4))
    assert own["shopper_moments"] == pytest.approx(np.log(4))
    assert own["shopper_idle_days"] == 1 and own["shopper_days"] == 8
    # Nine counts in all with one added to each of seven products, so the mean is 10 / 7.
    assert table[5]["popularity_all"] == pytest.approx(np.log(3 / (10 / 7)), rel=1e-5)
    assert table[2]["brand_share"] == 0 and table[2]["brand_idle_days"] == UNKNOWN
    assert table[1]["from_alike_share"] == 1 and table[2]["from_alike_share"] == pytest.approx(1 / 2)
    assert table[4]["n_sources"] == 1


def test_names_are_distinct_and_cover_the_product_facts() -> None:
    names = feature_names(["together", "trending", "category"])
    assert len(set(names)) == len(names)
    assert set(PRODUCT_FEATURES) < set(names)


def big(n: int = 50_000) -> TwoStageRecommender:
    rng = np.random.default_rng(0)
    rows = {row: {int(j): float(rng.random()) for j in rng.choice(n, 30, replace=False)} for row in range(40)}
    source = Source("alike", "graph", 80, EventWeighting(), "alike")
    made = CandidateGenerator((source,), {"alike": weights(n, rows)}, facts(n), 250, (PURCHASE,))
    names = feature_names(["alike"])
    ranker = single_column(names.index("fusion"), len(names))
    popularity = rng.permutation(n).astype(np.float32)
    return TwoStageRecommender(IdMap.from_ids(f"p{i}" for i in range(n)), popularity, made, ranker, (1.0, 0.0))


def test_features_are_built_for_candidates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model, built = big(), []

    def counted(*given: Any) -> np.ndarray:
        rows = ranking_features(*given)
        built.append(len(rows))
        return rows

    monkeypatch.setattr(module, "ranking_features", counted)
    shopper = histories([(row, PURCHASE, 40.0 - row) for row in range(5)])
    banned = np.argsort(-model.popularity)[:3].astype(np.int32)
    lists = model.recommend(shopper, 300, exclude=Ragged.from_rows([banned]))
    assert 0 < sum(built) <= 250
    assert (lists.products >= 0).all() and len(set(lists.products[0].tolist())) == 300
    assert not np.isin(banned, lists.products).any()
    evidence = int((lists.scores[0] > 0).sum())
    assert 0 < evidence <= 80
    filled = lists.products[0, evidence:]
    free = [p for p in np.argsort(-model.popularity) if p not in banned and p not in lists.products[0, :evidence]]
    assert filled.tolist() == free[: len(filled)], "popular products follow, most popular first"


def test_the_newest_click_counts_and_unknown_products_do_not() -> None:
    model = big(500)
    ids = model.products
    events = [Event(ids.external([3])[0], VIEW, NOW - 5), Event("never-heard-of", VIEW, NOW - 1)]
    with_click = Histories.from_events([events], NOW, ids)
    neighbours = model.generator.graphs["alike"].rows(np.array([3], dtype=np.int32))[0]
    best = model.recommend(with_click, 5).products[0]
    assert best.tolist() == np.argsort(-neighbours, kind="stable")[:5].tolist()


def test_scoring_some_products_is_scoring_all_and_choosing() -> None:
    model = big(500)
    random = np.random.default_rng(0)
    events = [[(int(random.integers(60)), VIEW, float(day)) for day in range(row % 5)] for row in range(37)]
    batch = histories(*events, [(3, PURCHASE, 2.0), (499, VIEW, 1.0)], n=500)
    lists = model.recommend(batch, 9).products
    for scorer in (model, model.without_ranker()):
        for products in (lists, np.array([3, 499, 7, 7, 120, 0], dtype=np.int32)):
            assert np.array_equal(scorer.score(batch, products), Recommender.score(scorer, batch, products))


def test_parts_that_do_not_fit_are_refused() -> None:
    model = big(500)
    other = IdMap.from_ids(["a", "b"])
    with pytest.raises(ValueError, match="item graph alike is of 500 products for a map of 2"):
        TwoStageRecommender(other, np.ones(2, dtype=np.float32), model.generator, b"", (1.0, 0.0))
    with pytest.raises(ValueError, match="slope of the calibration must be positive"):
        TwoStageRecommender(model.products, model.popularity, model.generator, b"", (0.0, 0.0))
