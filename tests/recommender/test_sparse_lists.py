"""Lists made from the few scored products are, to the last bit, those made from the scores of all products."""

from dataclasses import replace

import numpy as np
import pytest

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_to_item import ItemToItemRecommender
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.popularity import PopularityRecommender
from lambda_api.recommender.profiles import EventWeighting

N = 60
WEIGHTING = EventWeighting(type_weights=tuple(float(kind is not InteractionType.VIEW) for kind in InteractionType))
"""Views count nothing, so that some shoppers with a past are unknown."""


def popularity(rng: np.random.Generator) -> np.ndarray:
    """With equal values, and with products that nobody took."""
    return rng.integers(0, 6, N).astype(np.float32)


def item_to_item(rng: np.random.Generator, prior: bool) -> ItemToItemRecommender:
    lengths = rng.integers(0, 12, N)
    indices = np.concatenate([np.sort(rng.choice(N, length, replace=False)) for length in lengths]).astype(np.int32)
    # Weights of both signs, and few values, so that scores tie.
    data = rng.choice([-0.5, 0.25, 0.5, 1.0], len(indices)).astype(np.float32)
    weights = SparseWeights(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), indices, data)
    trend = rng.choice([0.5, 1.0, 3.0], N).astype(np.float32) if prior else None
    return ItemToItemRecommender(
        IdMap.from_ids(f"p{i}" for i in range(N)), popularity(rng), weights, WEIGHTING, prior=trend
    )


def shoppers(rng: np.random.Generator) -> Histories:
    lengths = np.array([0, 1, 30, *rng.integers(0, 15, 17)])
    return Histories(
        user_ids=("",) * len(lengths),
        indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        products=rng.integers(0, N, lengths.sum()).astype(np.int32),
        types=rng.integers(0, len(InteractionType), lengths.sum()).astype(np.int8),
        timestamps=np.concatenate([np.sort(rng.integers(0, 10_000, length)) for length in lengths]).astype(np.int64),
        now=10_000,
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("fill", [True, False])
@pytest.mark.parametrize("kind", ["popularity", "item_to_item", "with_prior"])
def test_lists_are_those_of_the_scores_of_all_products(
    kind: str, fill: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambda_api.recommender.contract.SCORES_PER_CHUNK", 7 * N)
    rng = np.random.default_rng(seed)
    model: Recommender = item_to_item(rng, kind == "with_prior")
    if kind == "popularity":
        model = PopularityRecommender(model.products, model.popularity)
    batch = shoppers(rng)
    exclude = Ragged.from_rows([rng.choice(N, rng.integers(0, 50), replace=False) for _ in range(len(batch))])
    mask = rng.random(N) < 0.4
    for k in (1, 10, N + 5):
        for given in (
            {},
            {"exclude": exclude},
            {"candidates": mask},
            {"candidates": np.flatnonzero(mask)[::-1], "exclude": exclude},
            {"candidates": np.zeros(N, dtype=bool)},
        ):
            found = model.recommend(batch, k, fill_with_popular=fill, **given)
            with monkeypatch.context() as plain:
                plain.setattr(type(model), "_lists", Recommender._lists)
                expected = model.recommend(batch, k, fill_with_popular=fill, **given)
            assert np.array_equal(found.products, expected.products)
            assert np.array_equal(found.scores, expected.scores)
    nobody = replace(batch.rows(0, 0))
    assert model.recommend(nobody, 3).products.shape == (0, 3)
