"""The best answer of the synthetic shop: judged as models are, better than all of them, and knowing no draw."""

import numpy as np
import pytest

from benchmarks.synthetic_truth import (
    Known,
    best_lists,
    expected_ndcg,
    foreseeable_lists,
    futures,
    known_shop,
    learnable_lists,
)
from recsys_assets.ingest.synthetic import SyntheticShopConfig
from recsys_assets.measurement.metrics import ranking_metrics
from recsys_assets.measurement.protocol import evaluate
from recsys_assets.models.item_knn import ItemKnn


@pytest.fixture(scope="module")
def known() -> Known:
    return known_shop(SyntheticShopConfig(seed=2, days=50, n_users=250, n_products=150, n_categories=6), 10)


def test_protocol_is_kept(known: Known) -> None:
    task, lists = known.task, best_lists(known)
    assert known.data.timestamp.max() < known.data.as_of == int(task.window.start.timestamp())
    assert task.statistics.candidates[lists[lists >= 0]].all()
    truth = set((task.truth.row_of_value * len(task.products) + task.truth.values).tolist())
    owned = set((task.exclude.row_of_value * len(task.products) + task.exclude.values).tolist())
    listed = {row * len(task.products) + product for row, line in enumerate(lists.tolist()) for product in line}
    assert truth and owned and not truth & owned and not listed & owned


def test_first_places_are_those_the_shop_names(known: Known) -> None:
    task = known.task
    every = task.products.external(np.arange(len(task.products)))
    chances = known.shop.purchase_probability(task.user_ids[:5], every, task.window.start, known.days)
    chances[:, ~task.statistics.candidates] = 0.0
    for row, line in enumerate(chances):
        line[task.exclude.row(row)] = 0.0
    theirs = [set(np.array(every)[np.argsort(-line)[:10]]) for line in chances]
    ours = [set(task.products.external(line[line >= 0])) for line in best_lists(known)[:5]]
    assert ours == theirs


def test_best_above_foreseeable_above_a_model(known: Known) -> None:
    truths = futures(known, 5)
    model = evaluate("item_knn", ItemKnn().fit(known.data), known.task).recommended
    answers = (best_lists(known), foreseeable_lists(known), learnable_lists(known, draws=24), model)
    reached = [expected_ndcg(lists, truths) for lists in answers]
    assert reached[0] > reached[1] > reached[2] > reached[3] > 0
    again = futures(known, 2)
    np.testing.assert_array_equal(again[1].values, truths[1].values)
    assert len(truths[0].values) != len(truths[1].values) or (truths[0].values != truths[1].values).any()


def test_learnable_obeys_the_protocol_and_hangs_on_no_draw(known: Known) -> None:
    task, lists = known.task, learnable_lists(known, draws=3)
    assert task.statistics.candidates[lists[lists >= 0]].all()
    listed = {row * len(task.products) + product for row, line in enumerate(lists.tolist()) for product in line}
    assert not listed & set((task.exclude.row_of_value * len(task.products) + task.exclude.values).tolist())
    np.testing.assert_array_equal(lists, learnable_lists(known, draws=3))


def test_futures_are_as_likely_as_what_happened(known: Known) -> None:
    """How much is bought in a future is what was bought: within five Poisson deviations."""
    counts = [len(truth.values) for truth in futures(known, 8)]
    assert abs(len(known.task.truth.values) - np.mean(counts)) < 5 * np.sqrt(np.mean(counts))
    ndcg = ranking_metrics(best_lists(known), known.task.truth, 10)["ndcg"]
    assert expected_ndcg(best_lists(known), [known.task.truth]) == pytest.approx(np.nanmean(ndcg))
