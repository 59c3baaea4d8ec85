"""Candidates, ranking features and lists of the two-stage recommender, computed by hand on a shop of seven products."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.factors import FactorRecommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.two_stage import blocks as blocks_module
from lambda_api.recommender.two_stage import candidates as candidates_module
from lambda_api.recommender.two_stage import recommender as module
from lambda_api.recommender.two_stage.candidates import PER_CATEGORY, CandidateGenerator, Candidates
from lambda_api.recommender.two_stage.features import FeatureRows, feature_names
from lambda_api.recommender.two_stage.product_statistics import (
    NEWCOMER_DAYS,
    PRODUCT_FEATURES,
    UNKNOWN,
    WINDOW_DAYS,
    CatalogueFacts,
)
from lambda_api.recommender.two_stage.proposals import FUSION_OFFSET, NO_RANK
from lambda_api.recommender.two_stage.ranker import Ranker
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sessions import in_session
from lambda_api.recommender.two_stage.sources import WITHOUT_PROFILE, Source
from lambda_api.recommender.two_stage.stage import RankedStage

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
            Source("own", "repurchase", take, EventWeighting(combine="sum")),
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


def some_shop(seed: int, n: int = 900) -> CandidateGenerator:
    """A generator of few values, so that scores tie; in every fourth shop all of the best do."""
    random = np.random.default_rng(seed)
    alike, other = (
        weights(
            n, {i: {int(j): float(random.integers(1, 9)) for j in random.integers(n, size=8)} for i in range(0, n, 2)}
        )
        for _ in range(2)
    )
    sold = random.integers(0, 4 if seed % 4 else 2, size=(n, 1)) * np.ones((1, len(WINDOW_DAYS)))
    sold[random.integers(n, size=30)] += random.random((30, 1)) * (seed % 4 > 0)
    weighting, halved = EventWeighting(), EventWeighting(half_life_days=5.0, combine="sum")
    bought = EventWeighting(type_weights=(0.0, 0.0, 1.0, 1.0), half_life_days=2.0)
    vectors = random.normal(size=(n, 4)).astype(np.float32)
    ids = IdMap.from_ids(f"p{i}" for i in range(n))
    known = facts(
        n,
        counts=sold.astype(np.float32),
        trend=random.random(n).astype(np.float32),
        category=random.integers(-1, 40, size=n).astype(np.int32),
    )
    return CandidateGenerator(
        sources=(
            Source("alike", "graph", 12, weighting, "alike", prior=True),
            Source("decayed", "graph", 5, halved, "alike"),
            Source("selling", "trending", 7, weighting),
            Source("shelf", "category", 9, halved),
            Source("own", "repurchase", 3, weighting),
            Source("other", "graph", 6, bought, "other"),
            Source("factors", "factors", 0, weighting),
        )[: 7 if seed % 3 else 2],
        graphs={"alike": alike, "other": other},
        facts=known,
        limit=25,
        consumed_types=(PURCHASE,) if seed % 2 else (),
        factors=FactorRecommender(ids, np.ones(n, np.float32), vectors, vectors.T @ vectors, halved, 1.0, 2.0),
    )


def some_shoppers(seed: int, n: int = 900, shoppers: int = 5) -> Histories:
    random = np.random.default_rng(seed + 1_000)
    events = [
        [
            (int(random.integers(n)), InteractionType(int(random.integers(4))), float(random.random() * 30))
            for _ in range(size)
        ]
        for size in random.integers(0, 12, size=shoppers)
    ]
    return histories(*events, n=n)


def plain_candidates(whole: CandidateGenerator, shopper: Histories, allowed: np.ndarray) -> tuple[np.ndarray, ...]:
    """Products, scores, ranks and fusion of one shopper, source after source over every product."""
    n, known, proposed = len(whole.facts), [], np.zeros(len(whole.facts), dtype=bool)
    free = allowed.copy()
    free[shopper.products[np.isin(shopper.types, [int(kind) for kind in whole.consumed_types])]] = False
    for source in whole.sources:
        profile, scores = source.weighting.profiles(shopper), np.zeros(n, dtype=np.float32)
        if source.kind == "graph":
            scores = whole.graphs[source.graph].scores(profile)[0]
            scores = scores * whole.facts.trend if source.prior else scores
        elif source.kind == "repurchase":
            scores[profile.products] = profile.weights
        elif source.kind == "category":
            for category in range(40):
                inside = np.flatnonzero((whole.facts.category == category) & (whole.facts.trending > 0))
                best = inside[np.argsort(-whole.facts.trending[inside], kind="stable")][:PER_CATEGORY]
                affinity = sum(profile.weights[whole.facts.category[profile.products] == category], 0.0)
                scores[best] = np.float32(affinity) * whole.facts.trending[best]
        elif source.kind == "trending":
            scores = whole.facts.trending
            best = [p for p in np.argsort(-scores, kind="stable") if free[p] and scores[p] > 0][: source.take]
            proposed[best] = True
        else:
            assert whole.factors is not None
            own = whole.factors.weighting.profiles(shopper)
            rows = whole.factors.item_factors.astype(np.float64)
            system = rows.T @ rows + whole.factors.regularisation * np.eye(rows.shape[1])
            vector = np.linalg.solve(system, (1.0 + whole.factors.alpha * own.weights) @ rows[own.products])
            scores = np.maximum(rows @ vector, 0.0).astype(np.float32)
        known.append(scores)
        if source.kind not in WITHOUT_PROFILE:
            ordered = np.sort(scores[free & (scores > 0)])[::-1]
            border = ordered[source.take] if len(ordered) > source.take else np.float32(0.0)
            tie = bool(len(ordered)) and ordered[0] == border
            proposed |= free & (scores > 0) & ((scores >= border) if tie else (scores > border))
    products = np.flatnonzero(proposed)
    table = np.stack(known)[:, products]
    ranks = np.array([[(row > value).sum() if value > 0 else NO_RANK for value in row] for row in table])
    fusion = np.where(table > 0, 1 / (FUSION_OFFSET + ranks), 0.0).sum(axis=0)
    return products, table, ranks, fusion


@pytest.mark.parametrize("seed", range(24))
def test_candidates_are_those_of_one_source_after_the_other(seed: int) -> None:
    whole, batch = some_shop(seed), some_shoppers(seed)
    for allowed in (None, np.arange(len(whole.facts)) % 3 > 0):
        found = whole.candidates(batch, allowed)
        for row in range(len(batch)):
            products, scores, ranks, fusion = plain_candidates(
                whole, batch.rows(row, row + 1), np.ones(len(whole.facts), bool) if allowed is None else allowed
            )
            part = slice(int(found.products.indptr[row]), int(found.products.indptr[row + 1]))
            kept = np.isin(products, found.products.row(row))
            assert kept.sum() == min(whole.limit, len(products)) == part.stop - part.start
            np.testing.assert_allclose(found.scores[part], scores[:, kept].T, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found.fusion[part], fusion[kept], rtol=1e-5)
            if "factors" not in [source.name for source in whole.sources]:
                assert np.array_equal(found.ranks[part], ranks[:, kept].T)
            if not kept.all():
                assert fusion[~kept].max() <= fusion[kept].min() * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_candidates_do_not_depend_on_the_batch(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, batch = some_shop(seed), some_shoppers(seed)
    found = whole.candidates(batch)
    monkeypatch.setattr(candidates_module, "CELLS_AT_ONCE", 2 * len(whole.facts))
    for again in (whole.candidates(replace(batch)), whole.candidates(batch, np.ones(len(whole.facts), bool))):
        assert again is not found
        require_same(again, found)
    for row in range(len(batch)):
        alone = whole.candidates(batch.rows(row, row + 1))
        part = slice(int(found.products.indptr[row]), int(found.products.indptr[row + 1]))
        assert np.array_equal(alone.products.values, found.products.row(row))
        assert np.array_equal(alone.scores, found.scores[part]) and np.array_equal(alone.fusion, found.fusion[part])


def require_same(one: Candidates, other: Candidates) -> None:
    assert np.array_equal(one.products.indptr, other.products.indptr)
    assert np.array_equal(one.products.values, other.products.values)
    for name in ("scores", "ranks", "fusion"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("seed", range(24))
def test_without_a_product_is_as_if_it_had_never_been_touched(seed: int) -> None:
    whole, batch = some_shop(seed), some_shoppers(seed)
    for row in range(len(batch)):
        shopper = batch.rows(row, row + 1)
        if not len(shopper.products):
            continue
        # The newest, from which decay counts back, one that is no part of the past, and others.
        left_out = np.unique([*shopper.products[-1:], *shopper.products[:3], 899]).astype(np.int32)
        asked = whole.what_if(shopper, left_out, whole.expanded(shopper))
        for number, product in enumerate(left_out, start=1):
            assert product not in asked.histories.rows(number, number + 1).products
        require_same(asked.found, whole.candidates(shopper.and_without_each(left_out)))
        require_same(asked.found.of_first(), whole.candidates(shopper))


def test_variants_are_of_one_history() -> None:
    with pytest.raises(ValueError, match="one shopper"):
        some_shoppers(0).without_each(np.array([1], dtype=np.int32))


def test_features_by_hand() -> None:
    category = np.array([0, 0, 1, -1, 1, 1, 0], dtype=np.int32)
    prices = np.log(np.array([2.0, 4.0, 8.0, np.nan, 2.0, 2.0, 2.0])).astype(np.float32)
    known = facts(7, counts=COUNTS, category=category, log_price=prices, repeat_days=np.full(7, 10, dtype=np.float32))
    shopper = histories([(0, PURCHASE, 8.0), (0, PURCHASE, 4.0), (6, VIEW, 4.0), (2, VIEW, 1.0)])
    sources = generator(consumed=(), take=6)
    candidates = sources.candidates(shopper)
    rows = FeatureRows(shopper, candidates, known).of()
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
    names = feature_names(["co_purchase", "trending", "category"])
    assert len(set(names)) == len(names)
    assert set(PRODUCT_FEATURES) < set(names)


def big(n: int = 50_000) -> TwoStageRecommender:
    rng = np.random.default_rng(0)
    rows = {row: {int(j): float(rng.random()) for j in rng.choice(n, 30, replace=False)} for row in range(40)}
    source = Source("alike", "graph", 80, EventWeighting(), "alike")
    made = CandidateGenerator((source,), {"alike": weights(n, rows)}, facts(n), 250, (PURCHASE,))
    popularity = rng.permutation(n).astype(np.float32)
    return TwoStageRecommender(IdMap.from_ids(f"p{i}" for i in range(n)), popularity, by_fusion(made))


def by_fusion(made: CandidateGenerator, slope: float = 1.0, intercept: float = 0.0, **given: bool) -> RankedStage:
    """A stage whose ranker is the fusion alone."""
    return RankedStage(made, Ranker.by_column(0), (slope, intercept), ("fusion",), **given)


def test_features_are_built_for_candidates_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model, built = big(), []

    made = FeatureRows.of

    def counted(self: FeatureRows, only: np.ndarray | None = None) -> np.ndarray:
        rows = made(self, only)
        built.append(len(rows))
        return rows

    monkeypatch.setattr(FeatureRows, "of", counted)
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
        TwoStageRecommender(other, np.ones(2, dtype=np.float32), model.stage)
    with pytest.raises(ValueError, match="slope of the calibration must be positive"):
        by_fusion(model.generator, slope=0.0)


def test_many_blocks_at_once_give_the_lists_of_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = big(500), some_shoppers(3, n=60, shoppers=60)
    banned = Ragged.from_rows([[row % 40, 3] for row in range(60)])
    monkeypatch.setattr(module, "SHOPPERS_PER_BLOCK", 7)
    threads: set[int] = set()
    scored = TwoStageRecommender._best

    def noted(self: TwoStageRecommender, *given: Any) -> Any:
        threads.add(threading.get_ident())
        return scored(self, *given)

    monkeypatch.setattr(TwoStageRecommender, "_best", noted)
    monkeypatch.setattr(blocks_module, "cores", lambda: 3)
    at_once = model.recommend(batch, 9, exclude=banned)
    assert threading.get_ident() not in threads
    monkeypatch.setattr(blocks_module, "cores", lambda: 1)
    alone = model.recommend(batch, 9, exclude=banned)
    assert threading.get_ident() in threads
    assert np.array_equal(at_once.products, alone.products) and np.array_equal(at_once.scores, alone.scores)
    for row in range(60):
        assert not np.isin(banned.row(row), alone.products[row]).any()
    monkeypatch.setattr(blocks_module, "cores", lambda: 3)
    monkeypatch.setattr(TwoStageRecommender, "_best", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.recommend(batch, 9)


def other_stage(whole: CandidateGenerator) -> CandidateGenerator:
    """A generator over the same catalogue that proposes other products."""
    return replace(whole, sources=whole.sources[::2], limit=15)


def test_each_shopper_is_answered_by_the_stage_of_a_session_or_of_none() -> None:
    whole = some_shop(1)
    ids, popularity = IdMap.from_ids(f"p{i}" for i in range(900)), np.arange(900, dtype=np.float32)
    between, within = by_fusion(whole, 2.0, 0.5), by_fusion(other_stage(whole), session=True)
    both = TwoStageRecommender(ids, popularity, between, within)
    minute = 1 / 1440
    batch = histories(
        [(4, VIEW, 9.0), (2, VIEW, 2 * minute)],
        [(4, VIEW, 9.0), (2, VIEW, 31 * minute)],
        [],
        [(8, VIEW, 1.0), (6, VIEW, 30 * minute)],
        n=900,
    )
    assert in_session(batch).tolist() == [True, False, False, True]
    alone = {True: TwoStageRecommender(ids, popularity, within), False: TwoStageRecommender(ids, popularity, between)}
    lists, scores = both.recommend(batch, 12), both.score_all(batch)
    for row, running in enumerate(in_session(batch)):
        one = batch.rows(row, row + 1)
        expected = alone[bool(running)].recommend(one, 12)
        assert np.array_equal(lists.products[row], expected.products[0])
        assert np.array_equal(lists.scores[row], expected.scores[0])
        assert np.array_equal(scores[row], alone[bool(running)].score_all(one)[0])
        assert np.array_equal(both.score(one, expected.products), alone[bool(running)].score(one, expected.products))


def test_session_features_by_hand() -> None:
    category = np.array([0, 0, 1, -1, 1, 1, 0], dtype=np.int32)
    prices = np.log(np.array([2.0, 4.0, 8.0, np.nan, 2.0, 2.0, 2.0])).astype(np.float32)
    known = facts(7, counts=COUNTS, category=category, log_price=prices)
    minute = 1 / 1440
    shopper = histories(
        [(2, VIEW, 3.0), (0, VIEW, 20 * minute), (0, VIEW, 10 * minute), (4, VIEW, 4 * minute), (3, VIEW, 0.0)]
    )
    candidates = generator(consumed=(), take=6).candidates(shopper)
    rows = FeatureRows(shopper, candidates, known, session=True).of()
    names = feature_names(["alike", "selling", "own"], session=True)
    assert rows.shape[1] == len(names)
    table = {
        int(product): dict(zip(names, row.tolist(), strict=True))
        for product, row in zip(candidates.products.values, rows, strict=True)
    }
    one = table[1]
    assert (one["session_events"], one["session_products"]) == (4, 3), "the view of three days ago is another session"
    assert (one["session_minutes"], one["session_last_minutes"]) == (20, 4)
    assert one["session_category_share"] == 2 / 4 and table[5]["session_category_share"] == 1 / 4
    assert table[3]["session_category_share"] == 0, "no category"
    assert one["session_price_difference"] == pytest.approx(np.log(2)), "three priced events of price 2"
    assert table[3]["session_price_difference"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_scores_without_an_event_are_scores_of_the_shorter_history(seed: int) -> None:
    whole = some_shop(seed)
    ids = IdMap.from_ids(f"p{i}" for i in range(900))
    popularity = np.arange(900, dtype=np.float32)
    model = TwoStageRecommender(
        ids, popularity, by_fusion(whole, 2.0, 0.5), by_fusion(other_stage(whole), session=True)
    )
    for row in range(5):
        shopper = some_shoppers(seed).rows(row, row + 1)
        if row % 2 and len(shopper.products):
            shopper = replace(shopper, now=int(shopper.timestamps[-1]) + 60)
        products = model.recommend(shopper, 12).products[0]
        left_out = np.unique(shopper.products)[:4]
        if not len(left_out):
            continue
        scores, known = model.score_without(shopper, left_out, products)
        plain, plainly = Recommender.score_without(model, shopper, left_out, products)
        assert np.array_equal(scores, plain) and np.array_equal(known, plainly)
