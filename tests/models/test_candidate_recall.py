"""Recall of candidates: fractions worked out by hand on three shoppers, and what must hold of any shop."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_api.interactions import Event, InteractionType
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.item_weights import SparseWeights
from lambda_api.recommender.profiles import EventWeighting
from lambda_api.recommender.two_stage.candidates import CandidateGenerator
from lambda_api.recommender.two_stage.product_statistics import CatalogueFacts
from lambda_api.recommender.two_stage.sources import Source
from recsys_assets.models.candidate_recall import POOLED, RANKED, UNION, candidate_recall
from recsys_assets.models.hybrid_facts import catalogue_facts
from recsys_assets.models.hybrid_windows import relevant
from recsys_assets.models.zoo import make_trainer
from tests.models.hybrid_shop import SMALL, training_data

NOW = 1_700_000_000
EVENLY = EventWeighting((1.0, 1.0, 1.0, 1.0))


def weights(rows: dict[int, dict[int, float]], products: int) -> SparseWeights:
    """From each product to others."""
    lists = [sorted(rows.get(product, {}).items()) for product in range(products)]
    return SparseWeights(
        indptr=np.concatenate([[0], np.cumsum([len(row) for row in lists])]).astype(np.int64),
        indices=np.array([product for row in lists for product, _ in row], dtype=np.int32),
        data=np.array([weight for row in lists for _, weight in row], dtype=np.float32),
    )


def generator(limit: int = 100) -> CandidateGenerator:
    """Ten products. From 0, ``left`` leads to 1, 2, 3 and ``right`` to 3, 4, each best first; from 5 both lead to 6."""
    data = training_data()
    facts = catalogue_facts(data, relevant(data))
    ten = {name: array[:10] for name, array in facts.arrays().items()}
    return CandidateGenerator(
        sources=(Source("left", "graph", 2, EVENLY, "left"), Source("right", "graph", 2, EVENLY, "right")),
        graphs={
            "left": weights({0: {1: 3.0, 2: 2.0, 3: 1.0}, 5: {6: 1.0}}, 10),
            "right": weights({0: {3: 2.0, 4: 1.0}, 5: {6: 1.0}}, 10),
        },
        facts=CatalogueFacts.restore(ten, facts.as_of),
        limit=limit,
        consumed_types=(),
    )


def shoppers(*firsts: int) -> Histories:
    products = IdMap.from_ids([f"p{number}" for number in range(10)])
    ids = products.external(np.array(firsts, dtype=np.int32))
    return Histories.from_events([[Event(id, InteractionType.VIEW, NOW - 1)] for id in ids], NOW, products)


def test_fractions_worked_out_by_hand() -> None:
    # Two shoppers with product 0 who took {3, 9} and {1, 2, 4}, one with 5 who took {6}, one who took nothing.
    histories, truth = shoppers(0, 0, 5, 0), Ragged.from_rows([[3, 9], [1, 2, 4], [6], []])
    found = {recall.name: recall.at for recall in candidate_recall(generator(), histories, truth, (1, 2, 3))}
    assert list(found) == [UNION, POOLED, RANKED, "left", "right"]
    # left by itself proposes 1, 2, 3; right 3, 4.
    assert found["left"] == pytest.approx({1: (0 + 1 / 3 + 1) / 3, 2: (0 + 2 / 3 + 1) / 3, 3: (1 / 2 + 2 / 3 + 1) / 3})
    assert found["right"] == pytest.approx(
        {1: (1 / 2 + 0 + 1) / 3, 2: (1 / 2 + 1 / 3 + 1) / 3, 3: (1 / 2 + 1 / 3 + 1) / 3}
    )
    # In either list: 3 and 1 with one place each, then 1, 2, 3, 4.
    assert found[POOLED] == pytest.approx(
        {1: (1 / 2 + 1 / 3 + 1) / 3, 2: (1 / 2 + 3 / 3 + 1) / 3, 3: (1 / 2 + 3 / 3 + 1) / 3}
    )
    # Fusion: 3 is third by left and first by right, 1/22 + 1/20; then 1 with 1/20; then 2 and 4 with 1/21, 2 first.
    assert found[UNION] == pytest.approx(
        {1: (1 / 2 + 0 + 1) / 3, 2: (1 / 2 + 1 / 3 + 1) / 3, 3: (1 / 2 + 2 / 3 + 1) / 3}
    )


def test_what_is_ranked_is_cut_where_the_model_cuts() -> None:
    union, _, ranked = candidate_recall(generator(limit=1), shoppers(0), Ragged.from_rows([[1]]), (3,))[:3]
    assert (union.at, ranked.at) == ({3: 1.0}, {3: 0.0})
    narrow = generator()
    narrow = replace(narrow, sources=tuple(replace(source, take=1) for source in narrow.sources))
    union, _, ranked = candidate_recall(narrow, shoppers(0), Ragged.from_rows([[1, 2, 3, 4]]), (4,))[:3]
    assert (union.at, ranked.at) == ({4: 1.0}, {4: 2 / 4})


def test_a_shopper_nothing_is_known_of_has_no_candidates() -> None:
    recalls = candidate_recall(generator(), shoppers(9, 0), Ragged.from_rows([[1], [1]]), (3,))
    found = {recall.name: recall.at[3] for recall in recalls}
    assert found == {UNION: 0.5, POOLED: 0.5, RANKED: 0.5, "left": 0.5, "right": 0.0}


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="no shopper took anything"):
        candidate_recall(generator(), shoppers(0), Ragged.from_rows([[]]))
    with pytest.raises(ValueError, match="truth of 1 shoppers for histories of 2"):
        candidate_recall(generator(), shoppers(0, 0), Ragged.from_rows([[1]]))
    with pytest.raises(ValueError, match="cut-offs"):
        candidate_recall(generator(), shoppers(0), Ragged.from_rows([[1]]), (0,))


@pytest.fixture(scope="module")
def fitted() -> tuple[CandidateGenerator, Histories]:
    data = training_data()
    # Without windows no trees are fitted, which the first stage does not need.
    return make_trainer("hybrid", {**SMALL, "windows": 0}).fit(data).generator, data.histories()  # type: ignore[attr-defined]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cutoff=st.integers(1, 60))
def test_recall_agrees_with_counting_in_sets_and_grows(
    fitted: tuple[CandidateGenerator, Histories], seed: int, cutoff: int
) -> None:
    whole, everybody = fitted
    rng = np.random.default_rng(seed)
    start = int(rng.integers(0, len(everybody) - 3))
    histories = everybody.rows(start, start + 3)
    truth = [np.sort(rng.choice(len(whole.facts), rng.integers(1, 6), replace=False)) for _ in range(3)]
    recalls = candidate_recall(whole, histories, Ragged.from_rows(truth), (cutoff, 200))
    wide = tuple(replace(source, take=200 if source.take else 0) for source in whole.sources)
    proposed = replace(whole, sources=wide, limit=200).candidates(histories)
    by_hand = []
    for row, taken in enumerate(truth):
        places = slice(proposed.products.indptr[row], proposed.products.indptr[row + 1])
        best = np.argsort(-proposed.fusion[places], kind="stable")[:cutoff]
        listed = set(proposed.products.values[places][best].tolist())
        by_hand.append(len(listed & set(taken.tolist())) / len(taken))
    assert recalls[0].at[cutoff] == pytest.approx(np.mean(by_hand))
    assert all(0 <= recall.at[cutoff] <= recall.at[200] <= 1 for recall in recalls)
    assert recalls[1].at[cutoff] == pytest.approx(_pooled_by_hand(whole, histories, truth, cutoff))
    assert recalls[1].at[cutoff] >= max(recall.at[cutoff] for recall in recalls[3:])


def _pooled_by_hand(whole: CandidateGenerator, histories: Histories, truth: list[np.ndarray], cutoff: int) -> float:
    listed: list[set[int]] = [set() for _ in truth]
    for source in whole.sources:
        if source.take:
            alone = replace(whole, sources=(replace(source, take=200),), limit=200).candidates(histories)
            for row in range(len(truth)):
                places = slice(alone.products.indptr[row], alone.products.indptr[row + 1])
                best = np.argsort(-alone.fusion[places], kind="stable")[:cutoff]
                listed[row] |= set(alone.products.values[places][best].tolist())
    return float(
        np.mean([len(have & set(taken.tolist())) / len(taken) for have, taken in zip(listed, truth, strict=True)])
    )
