"""NCF: its network, its training, and the graph that answers for it. The contract is in ``test_conformance``."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import onnx
import pyarrow.compute as pc
import pytest
import torch
from sklearn.metrics import ndcg_score

from benchmarks.synthetic_truth import expected_ndcg, futures, known_shop
from lambda_api.recommender.contract import StoredModel
from lambda_api.recommender.histories import Histories
from lambda_api.recommender.ids import IdMap
from lambda_api.recommender.ncf import GRAPH_NAME, NcfRecommender
from recsys_assets.ingest.synthetic import SyntheticShopConfig
from recsys_assets.measurement.protocol import evaluate
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData
from recsys_assets.models.ncf import Ncf
from recsys_assets.models.ncf_fit import batch_size, best_epoch, is_exhausted, require_parity
from recsys_assets.models.ncf_loop import Validation, pair_loss
from recsys_assets.models.ncf_network import NeuMF, serving_arrays, serving_graph
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.positives import Positives, hold_out_latest
from recsys_assets.models.resumable import Checkpoint, TrainingInterrupted
from recsys_assets.models.torch_fit import ExportError
from recsys_assets.models.zoo import make_trainer
from tests.training.shop import AS_OF, TEST_START, TINY_NCF, tables


def shop(before: datetime = AS_OF) -> TrainingData:
    interactions, products = tables()
    return TrainingData.from_tables(interactions, products, before)


def history_free(user_ids: list[str]) -> Histories:
    none = np.empty(0)
    return Histories(
        user_ids=tuple(user_ids),
        indptr=np.zeros(len(user_ids) + 1, dtype=np.int64),
        products=none.astype(np.int32),
        types=none.astype(np.int8),
        timestamps=none.astype(np.int64),
        now=0,
    )


def trained_network(data: TrainingData, seed: int = 3) -> NeuMF:
    """A network with weights of ordinary size, as training leaves them."""
    network = NeuMF(len(data.users), len(data.products), 5, 6, (7, 4, 3), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network


@dataclass
class Memory:
    """Checkpoints that live as long as the test."""

    newest_one: Checkpoint | None = None
    saved: int = 0

    def save(self, checkpoint: Checkpoint) -> None:
        self.newest_one = replace(checkpoint, state=_copied(checkpoint.state))
        self.saved += 1

    def newest(self) -> Checkpoint | None:
        return self.newest_one


def _copied(state: Any) -> dict[str, Any]:
    return {name: [dict(row) for row in value] if name == "history" else value for name, value in state.items()}


def stop_after(calls: int) -> Callable[[], bool]:
    """Asked between batches; true from the ``calls``-th time on."""
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] >= calls

    return should_stop


def test_the_network_is_equation_12_of_the_paper() -> None:
    """With the first layer on the concatenated embeddings, as printed there, in plain numpy."""
    network = trained_network(shop())
    value = {name: array.double().numpy() for name, array in network.state_dict().items()}
    user, items = 11, [4, 0, 31]
    first = np.concatenate([value["first_user.weight"], value["first_item.weight"]], axis=1)
    for item, logit in zip(items, network(torch.tensor([user]), torch.tensor([items]))[0].tolist(), strict=True):
        p, q = value["user.weight"][user], value["item.weight"][item]
        hidden = np.maximum(first @ np.concatenate([p[5:], q[5:]]) + value["first_item.bias"], 0)
        for layer in (0, 1):
            hidden = np.maximum(value[f"tower.{layer}.weight"] @ hidden + value[f"tower.{layer}.bias"], 0)
        h = np.concatenate([value["output_gmf.weight"][0], value["output_mlp.weight"][0]])
        expected = h @ np.concatenate([p[:5] * q[:5], hidden]) + value["output_mlp.bias"][0]
        assert logit == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_weighted_cross_entropy_without_missing_negatives() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, 9.0]])
    item = torch.tensor([[3, 1, 2], [0, 5, -1]])
    weight = torch.tensor([1.0, 3.0])

    def log_sigmoid(x: float) -> float:
        return -math.log(1 + math.exp(-x))

    expected = -(log_sigmoid(2) + log_sigmoid(1) + log_sigmoid(-0.5) + 3 * log_sigmoid(0) + log_sigmoid(-3))
    assert float(pair_loss(logits, item, weight)) == pytest.approx(expected, rel=1e-6)


def test_validation_ndcg_is_that_of_scikit_learn() -> None:
    data = shop()
    holdout = hold_out_latest(data, DEFAULT_TYPE_WEIGHTS, 0.2)
    network = trained_network(data)
    how = Ncf(negatives=2, learning_rate=0.1, batch_size=64)
    with torch.no_grad():
        scores = network.score_all(torch.from_numpy(holdout.users)).numpy().astype(float)
    per_user = []
    for row, user in enumerate(holdout.users):
        unseen = np.setdiff1d(np.unique(holdout.train.product), holdout.train.product[holdout.train.user == user])
        truth = np.isin(unseen, holdout.product[holdout.user == user])
        per_user.append(ndcg_score([truth], [scores[row, unseen]], k=10))
    assert Validation(holdout, how).ndcg(network) == pytest.approx(np.mean(per_user), rel=1e-9)


def test_finds_tastes_that_popularity_cannot() -> None:
    data = shop(TEST_START)
    later = shop()
    histories = data.histories()
    seen = histories.distinct_products()
    after = later.timestamp >= TEST_START.timestamp()
    users = data.users.indices(later.users.external(later.user[after]))
    products = data.products.indices(later.products.external(later.product[after]))
    truth = np.zeros((len(data.users), len(data.products)), dtype=bool)
    truth[users[users >= 0], products[users >= 0]] = True
    truth[seen.row_of_value, seen.values] = False
    judged = truth.any(axis=1)

    def recall(trainer: Ncf | Popularity) -> float:
        lists = trainer.fit(data).recommend(histories, 5, exclude=seen).products
        hits = np.take_along_axis(truth, lists, axis=1).sum(axis=1)
        return float((hits / np.minimum(truth.sum(axis=1), 5).clip(1))[judged].mean())

    ncf = recall(Ncf(**{**TINY_NCF, "epochs": 40, "patience": 8}))
    assert judged.sum() > 50
    assert ncf > 1.5 * recall(Popularity(half_life_days=None))


def test_early_stopping_looks_back_as_far_as_patience() -> None:
    history = [
        {"phase": 1, "epoch": epoch, "validation_ndcg": ndcg, "validation_loss": float(epoch)}
        for epoch, ndcg in enumerate([0.1, 0.3, 0.2, 0.3, 0.25], 1)
    ]
    assert best_epoch(history) == 2
    assert [is_exhausted(history[:epochs], 2) for epochs in (1, 2, 3, 4, 5)] == [False, False, False, True, True]
    assert not is_exhausted(history, 4)


def test_fitting_stops_early_and_trains_on_everything_for_the_best_number_of_epochs() -> None:
    reported: dict[str, list[float]] = {}
    trainer = Ncf(**{**TINY_NCF, "epochs": 200, "patience": 2, "learning_rate": 0.05})
    data = shop()
    trainer.fit(data, lambda name, value: reported.setdefault(name, []).append(value))
    ndcg = reported["validation_ndcg"]
    best = int(np.argmax(ndcg)) + 1
    lowest = int(np.argmin(reported["validation_loss"])) + 1
    assert len(ndcg) == max(best, lowest) + 2 < 200
    assert reported["best_epoch"] == [best]
    assert len(reported["final_loss"]) == best
    assert reported["epoch"] == list(range(1, len(ndcg) + best + 1))
    assert len(reported["loss"]) == len(reported["validation_loss"]) == len(ndcg)
    assert reported["loss"][-1] < reported["loss"][0]


def test_without_patience_every_epoch_is_final() -> None:
    reported: list[str] = []
    Ncf(**{**TINY_NCF, "patience": 0}).fit(shop(), lambda name, value: reported.append(name))
    assert reported == ["final_loss", "epoch"] * TINY_NCF["epochs"] + ["best_epoch"]


def test_other_seeds_give_other_models() -> None:
    first, second = (Ncf(**{**TINY_NCF, "seed": seed}).fit(shop()) for seed in (1, 2))
    assert (first.arrays()["user_gmf"] != second.arrays()["user_gmf"]).any()


def test_a_fit_leaves_torch_as_it_was() -> None:
    before, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(before + 1)
    try:
        Ncf(**TINY_NCF).fit(shop())
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.get_rng_state(), state)


# 780 of about 1,040 pairs train in selection: 7 steps an epoch; 9 in the final phase.
@pytest.mark.parametrize("stops", [[1], [3, 2], [7], [8, 1, 1], [29], [33, 5], [20, 20]])
def test_a_resumed_fit_equals_an_uninterrupted_one_to_the_bit(stops: list[int]) -> None:
    data = shop()
    trainer = Ncf(**{**TINY_NCF, "patience": 4})
    whole: list[tuple[str, float]] = []
    expected = trainer.fit(data, lambda name, value: whole.append((name, value)))
    memory = Memory()
    for calls in stops:
        with pytest.raises(TrainingInterrupted):
            trainer.fit_resumable(data, None, memory, stop_after(calls))
    resumed: list[tuple[str, float]] = []
    actual = trainer.fit_resumable(data, lambda name, value: resumed.append((name, value)), memory, lambda: False)
    assert resumed == whole
    for name, array in expected.arrays().items():
        assert (actual.arrays()[name] == array).all(), name
    assert actual.graphs() == expected.graphs()


def test_every_epoch_leaves_a_checkpoint_and_a_finished_fit_is_not_repeated() -> None:
    data, memory = shop(), Memory()
    trainer = Ncf(**{**TINY_NCF, "patience": 0})
    first = trainer.fit_resumable(data, None, memory, lambda: False)
    assert memory.saved == TINY_NCF["epochs"]
    second = trainer.fit_resumable(data, None, memory, lambda: False)
    assert memory.saved == TINY_NCF["epochs"]
    assert second.graphs() == first.graphs()


@pytest.mark.parametrize("other", [{"seed": 9}, {"learning_rate": 0.03}, "data"])
def test_checkpoints_of_another_training_are_ignored(other: Any) -> None:
    memory = Memory()
    with pytest.raises(TrainingInterrupted):
        Ncf(**TINY_NCF).fit_resumable(shop(), None, memory, stop_after(12))
    data = shop(TEST_START) if other == "data" else shop()
    trainer = Ncf(**{**TINY_NCF, **({} if other == "data" else other)})
    resumed = trainer.fit_resumable(data, None, memory, lambda: False)
    assert resumed.graphs() == trainer.fit(data).graphs()


def test_the_graph_scores_what_the_network_scores() -> None:
    data = shop()
    network = trained_network(data)
    users, items = np.ones(len(data.users), dtype=bool), np.ones(len(data.products), dtype=bool)
    ids = data.users.external(np.arange(len(data.users)))
    recommender = NcfRecommender(
        data.products,
        np.zeros(len(data.products), dtype=np.float32),
        IdMap.from_ids(ids),
        serving_arrays(network, users, items),
        serving_graph(network),
    )
    with torch.no_grad():
        expected = network.score_all(torch.arange(len(data.users))).numpy()
    scores = recommender.score_all(history_free(ids))
    assert np.abs(scores - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_graph_that_differs_is_not_accepted() -> None:
    data = shop()
    network = trained_network(data)
    users, items = np.ones(len(data.users), dtype=bool), np.ones(len(data.products), dtype=bool)
    graph = onnx.load_from_string(serving_graph(network))
    for initializer in graph.graph.initializer:
        if initializer.name == "bias_0":
            bias = onnx.numpy_helper.to_array(initializer) * np.float32(1.01)
            initializer.CopyFrom(onnx.numpy_helper.from_array(bias, "bias_0"))
    recommender = NcfRecommender(
        data.products,
        np.zeros(len(data.products), dtype=np.float32),
        IdMap.from_ids(data.users.external(np.arange(len(data.users)))),
        serving_arrays(network, users, items),
        graph.SerializeToString(),
    )
    with pytest.raises(ExportError, match="differs from the trained network by"):
        require_parity(network, recommender, data, np.flatnonzero(users), items)


def test_similarity_is_the_cosine_of_both_towers_embeddings() -> None:
    data = shop()
    network = trained_network(data)
    trained = np.ones(len(data.products), dtype=bool)
    trained[7] = False
    unit = serving_arrays(network, np.ones(len(data.users), dtype=bool), trained)["item_unit"]
    embedding = network.item.weight.detach().numpy().astype(float)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    expected = (cosine(embedding[2, :5], embedding[9, :5]) + cosine(embedding[2, 5:], embedding[9, 5:])) / 2
    assert unit[2] @ unit[9] == pytest.approx(expected, rel=1e-5)
    assert not unit[7].any()


def test_only_users_with_a_positive_are_known() -> None:
    interactions, products = tables()
    views = pc.equal(interactions["interaction_type"], "view")
    browser = pc.equal(interactions["user_id"], "user-3")
    kept = interactions.filter(pc.or_(views, pc.invert(browser)))
    data = TrainingData.from_tables(kept, products, AS_OF)
    model = Ncf(**{**TINY_NCF, "type_weights": {"purchase": 1.0}}).fit(data)
    asked = history_free(["user-3", "user-4", "nobody", ""])
    assert "user-3" in data.users
    assert model.knows(asked).tolist() == [False, True, False, False]
    scores = model.score(asked, np.arange(len(products), dtype=np.int32))
    assert (scores[[0, 2, 3]] == model.popularity).all()


def test_products_without_a_positive_come_last() -> None:
    interactions, products = tables()
    kept = interactions.filter(pc.not_equal(interactions["product_id"], "item-0"))
    data = TrainingData.from_tables(kept, products, AS_OF)
    model = Ncf(**TINY_NCF).fit(data)
    cold = int(data.products.indices(["item-0"])[0])
    lists = model.recommend(data.histories(), len(products)).products
    assert (lists[:, -1] == cold).all()
    assert (model.similar_items(np.array([cold], dtype=np.int32), 3).products == -1).all()
    assert cold not in model.similar_items(np.array([cold + 1], dtype=np.int32), len(products)).products


def test_blocks_of_pairs_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    data = shop()
    model = Ncf(**TINY_NCF).fit(data)
    expected = model.score_all(data.histories())
    for pairs in (1, 7, 61, 200):
        monkeypatch.setattr("lambda_api.recommender.ncf.PAIRS_PER_RUN", pairs)
        assert (model.score_all(data.histories()) == expected).all()


def test_tables_of_another_shop_are_refused() -> None:
    data = shop()
    model = Ncf(**TINY_NCF).fit(data)
    arrays = {**model.arrays(), "item_gmf": model.arrays()["item_gmf"][:-1]}
    with pytest.raises(ValueError, match="item_gmf has 59 rows for 60 ids"):
        NcfRecommender.restore(StoredModel(model.products, model.popularity, arrays, {}, {GRAPH_NAME: b""}))


def test_divergence_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"diverged in epoch 1.*lower learning_rate"):
        Ncf(**{**TINY_NCF, "learning_rate": 1e30}).fit(shop())


def test_data_without_a_positive_is_an_error() -> None:
    with pytest.raises(ValueError, match="ncf has nothing to learn from"):
        Ncf(**{**TINY_NCF, "type_weights": {"rating": 1.0}}).fit(shop())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"gmf_size": 0}, "gmf_size"),
        ({"mlp_layers": []}, "mlp_layers"),
        ({"mlp_layers": [8, 0]}, r"mlp_layers\.1"),
        ({"sampling": "hard"}, "uniform. or .popularity"),
        ({"holdout_share": 0.9}, "holdout_share"),
        ({"patience": -1}, "patience"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"type_weights": {"wish": 1.0}}, "wish"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer("ncf", parameters)


def test_a_user_who_touched_everything_can_be_trained_on() -> None:
    interactions, products = tables()
    few = interactions.filter(pc.is_in(interactions["product_id"], pc.cast(["item-0", "item-1"], "string")))
    data = TrainingData.from_tables(few, products, AS_OF)
    counts = np.bincount(Positives.from_data(data, DEFAULT_TYPE_WEIGHTS).user)
    assert (counts == 2).any()
    scores = Ncf(**TINY_NCF).fit(data).score_all(data.histories())
    assert np.isfinite(scores).all()


def test_a_plateau_while_the_loss_falls_is_no_reason_to_stop() -> None:
    """At first the lists are those of popularity, whatever the loss; only when neither improves, nothing will come."""
    losses = [5.2, 3.1, 3.0, 2.9, 2.8, 2.85, 2.9, 2.95]
    history = [
        {"phase": 1, "epoch": epoch, "validation_ndcg": 0.033 - epoch / 1000, "validation_loss": loss}
        for epoch, loss in enumerate(losses, 1)
    ]
    stopped = [is_exhausted(history[:epochs], 3) for epochs in range(1, 9)]
    assert stopped == [False] * 7 + [True]
    assert best_epoch(history) == 1


@pytest.mark.parametrize(
    ("positives", "expected"), [(0, 256), (100, 256), (64_000, 1000), (64_001, 1001), (10**7, 4096)]
)
def test_steps_of_an_epoch_suit_the_log(positives: int, expected: int) -> None:
    assert batch_size(None, positives) == expected
    assert batch_size(77, positives) == 77


def test_no_seed_collapses_on_a_small_shop() -> None:
    """Stopping on the first plateau left every second seed at or below popularity here."""
    known = known_shop(SyntheticShopConfig(days=60, n_users=400, n_products=200, n_categories=6), 14)
    truths = futures(known, 3)

    def reached(trainer: Ncf | Popularity) -> float:
        return expected_ndcg(evaluate("any", trainer.fit(known.data), known.task, 10).recommended, truths)

    popular = reached(Popularity())
    found = [reached(Ncf(seed=seed)) for seed in range(3)]
    assert min(found) > 1.3 * popular
    assert max(found) - min(found) < 0.1 * max(found)
