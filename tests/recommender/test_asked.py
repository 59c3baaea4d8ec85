"""A list that is worked out together with the check of its reasons is the list by itself, and so is the check."""

from dataclasses import replace

import numpy as np
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.two_stage.asked import Asked
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.recommender import TwoStageRecommender
from lambda_api.recommender.two_stage.sources import Source
from tests.recommender.test_two_stage import by_fusion, facts, histories, other_stage, some_shop, some_shoppers, weights

VIEW, PURCHASE = InteractionType.VIEW, InteractionType.PURCHASE


def two_stages(seed: int) -> TwoStageRecommender:
    whole = some_shop(seed)
    stages = by_fusion(whole, 2.0, 0.5), by_fusion(other_stage(whole), session=True)
    return TwoStageRecommender(IdMap.from_ids(f"p{i}" for i in range(900)), np.arange(900, dtype=np.float32), *stages)


def shoppers_of(seed: int) -> list[Histories]:
    """Single shoppers with a past, every other one within a session."""
    batch = some_shoppers(seed)
    single = [batch.rows(row, row + 1) for row in range(len(batch))]
    return [
        replace(one, now=int(one.timestamps[-1]) + 60) if row % 2 else one
        for row, one in enumerate(single)
        if len(one.products)
    ]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ranked", [True, False])
def test_lists_and_checks_are_those_of_one_history_at_a_time(seed: int, ranked: bool) -> None:
    model, plain = two_stages(seed), two_stages(seed)
    if not ranked:
        model, plain = model.without_ranker(), plain.without_ranker()
    for shopper in shoppers_of(seed):
        check = model.to_check(shopper)
        assert check is not None and set(check.tolist()) <= set(shopper.products.tolist())
        assert len(set(check.tolist())) == len(check) <= model.variants_per_answer
        expected = plain.recommend(shopper, 12)
        limits = {"exclude": Ragged.from_rows([expected.products[0, :2]]), "candidates": np.arange(0, 900, 2)}
        for given in ({}, limits):
            found, alone = model.recommend(shopper, 12, **given), plain.recommend(shopper, 12, **given)
            assert np.array_equal(found.products, alone.products) and np.array_equal(found.scores, alone.scores)
        products, scores = expected.products[0], expected.scores[0]
        for one, other in zip(
            model.contributions(shopper, products, scores), plain.contributions(shopper, products, scores), strict=True
        ):
            assert np.array_equal(one, other)
        one_by_one = Recommender.score_without(plain, shopper, check, products)
        for one, other in zip(model.score_without(shopper, check, products), one_by_one, strict=True):
            assert np.array_equal(one, other)


def test_what_was_asked_about_one_shopper_is_not_said_of_another() -> None:
    model, plain = two_stages(1), two_stages(1)
    first, second = shoppers_of(1)[:2]
    model.to_check(first)
    again = model.recommend(second, 12)
    assert np.array_equal(again.products, plain.recommend(second, 12).products)
    both = some_shoppers(1)
    assert np.array_equal(model.recommend(both, 12).products, plain.recommend(both, 12).products)


def test_products_that_graphs_lead_on_from_most_are_checked() -> None:
    # Of the first graph's weight half is from 0, a quarter each from 1 and 2; of the second's, all is from 2.
    near = weights(7, {0: {3: 2.0, 4: 2.0}, 1: {3: 2.0}, 2: {5: 2.0}, 6: {1: 50.0}})
    far = weights(7, {2: {4: 0.01}})
    whole = CandidateGenerator(
        sources=(
            Source("near", "graph", 9, EventWeighting(), "near"),
            Source("own", "repurchase", 9, EventWeighting()),
            Source("far", "graph", 9, EventWeighting(), "far"),
        ),
        graphs={"near": near, "far": far},
        facts=facts(7),
        limit=10,
        consumed_types=(),
    )
    shopper = histories([(0, VIEW, 3.0), (1, VIEW, 2.0), (2, VIEW, 1.0)])
    expansion = whole.expanded(shopper)
    assert whole.most_telling(expansion, 5).tolist() == [2, 0, 1]
    assert whole.most_telling(expansion, 2).tolist() == [2, 0]
    nowhere = histories([(3, VIEW, 1.0)])
    assert whole.most_telling(whole.expanded(nowhere), 5).tolist() == [3], "a past product, though it leads nowhere"
    asked = Asked.about(by_fusion(whole), shopper, 2)
    assert asked.what_if.without.tolist() == [2, 0] and asked.without(asked.what_if.without) is asked


def test_without_item_graphs_the_list_says_what_to_check() -> None:
    only_own = CandidateGenerator(
        (Source("own", "repurchase", 9, EventWeighting()),), {}, facts(7), limit=10, consumed_types=()
    )
    popularity = np.arange(7, dtype=np.float32)
    model = TwoStageRecommender(IdMap.from_ids(f"p{i}" for i in range(7)), popularity, by_fusion(only_own))
    shopper = histories([(0, VIEW, 3.0), (1, PURCHASE, 2.0)])
    assert model.to_check(shopper) is None
    assert sorted(model.recommend(shopper, 2).products[0].tolist()) == [0, 1]
