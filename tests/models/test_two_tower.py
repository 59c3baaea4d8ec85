"""The two towers: their samples, their loss, and the graph that answers. The contract is in ``test_conformance``."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from benchmarks.synthetic_truth import expected_ndcg, futures, known_shop
from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.two_tower import GAP_DAYS, NEWEST_EVENTS, TwoTowerRecommender, gap_classes
from recsys_assets.ingest.synthetic import SyntheticShopConfig
from recsys_assets.measurement.protocol import evaluate
from recsys_assets.models import two_tower_fit as module
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.parameters import NothingToLearn
from recsys_assets.models.popularity import Popularity
from recsys_assets.models.torch_fit import ExportError
from recsys_assets.models.two_tower import TwoTower, described
from recsys_assets.models.two_tower_fit import Learning, before_and_after
from recsys_assets.models.two_tower_network import TwoTowers, shopper_graph
from recsys_assets.models.two_tower_samples import Samples, draw
from recsys_assets.models.zoo import make_trainer
from tests.models.hybrid_shop import training_data

DAY = 86_400
WEIGHTS = {InteractionType.VIEW: 1.0, InteractionType.PURCHASE: 4.0}
TINY: dict[str, Any] = {"size": 8, "heads": 2, "described_by": 6, "batch_size": 64, "epochs": 2, "patience": 0}


def drawn(data: TrainingData, days: float = 12.0, most: int = 10**6, seed: int = 0) -> Samples:
    return draw(data, WEIGHTS, days, most, np.random.default_rng(seed))


def learning(data: TrainingData, **given: Any) -> tuple[Learning, Samples]:
    """A training about to begin, and what it learns from."""
    trainer = TwoTower(**{**TINY, **given})
    return Learning.of(trainer, data, described(data.catalogue, trainer.described_by, 0)), drawn(data)


def network_of(shared: Learning, seed: int = 5) -> TwoTowers:
    """A network with weights of the size that training leaves."""
    network, generator = shared.network(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize("days", [1.0, 12.0, 500.0])
def test_samples_are_what_a_search_through_the_log_finds(days: float) -> None:
    data, samples = training_data(), drawn(training_data(), days)
    events = list(zip(data.user, data.timestamp, data.product, data.kind, strict=True))
    asked: set[tuple[int, int]] = set()
    for at in range(len(samples)):
        user, now = data.user[samples.first[at]], samples.now[at]
        own = [event for event in events if event[0] == user]
        past = [event for event in own if event[1] <= now]
        mine = slice(int(samples.first[at]), int(samples.stop[at]))
        assert past and [event[2] for event in past] == data.product[mine].tolist()
        known = {event[2] for event in past}
        found: dict[int, float] = {}
        for _, moment, product, kind in own:
            weight = WEIGHTS.get(InteractionType(kind), 0.0) / 4.0
            if now < moment <= now + days * DAY and product not in known and weight:
                found[int(product)] = max(found.get(int(product), 0.0), weight)
        targets = slice(int(samples.indptr[at]), int(samples.indptr[at + 1]))
        assert dict(zip(samples.target[targets].tolist(), samples.grade[targets].tolist(), strict=True)) == found
        assert found
        following = data.timestamp[samples.stop[at]]
        assert 0 < following - now < DAY, "asked within the day before the shopper came"
        asked.add((int(user), int(following)))
    for at in np.flatnonzero(np.diff(data.user, prepend=-1) == 0):
        before = data.timestamp[at - 1]
        new = data.product[at] not in data.product[:at][(data.user[:at] == data.user[at])]
        if data.timestamp[at] > before and new and InteractionType(data.kind[at]) in WEIGHTS:
            assert (int(data.user[at]), int(data.timestamp[at])) in asked


def test_fewer_samples_are_drawn_from_a_large_log_and_the_same_again() -> None:
    everything, few = drawn(training_data()), drawn(training_data(), most=200)
    assert 100 < len(few) <= 200 < len(everything)
    again = drawn(training_data(), most=200)
    for name in ("first", "stop", "now", "indptr", "target", "grade"):
        assert np.array_equal(getattr(few, name), getattr(again, name))


def test_the_number_of_epochs_is_chosen_forward_in_time() -> None:
    data = training_data()
    samples = drawn(data)
    before, after = before_and_after(samples, data.as_of, 12.0)
    border = data.as_of - 12 * DAY
    assert len(before) > 100 and len(after) > 100
    assert (after.now > border).all() and (before.now + 12 * DAY <= border).all()
    last = [
        data.timestamp[(data.user == data.user[first]) & (data.product == product)]
        for first, row in zip(before.first, np.split(before.target, before.indptr[1:-1]), strict=True)
        for product in row
    ]
    assert max(moments.min() for moments in last) <= border, "no target of the first part lies in the second"


def test_nothing_after_the_moment_reaches_the_network() -> None:
    data = training_data()
    shared, samples = learning(data)
    batch = np.arange(0, len(samples), 7)
    later = np.ones(len(data.product), dtype=bool)
    for at in batch:
        later[samples.first[at] : samples.stop[at]] = False
    # Events that lie before no moment asked about are made unrecognisable.
    changed = replace(data, product=np.where(later, 0, data.product), kind=np.where(later, 0, data.kind))
    assert later.any()
    network = network_of(shared)
    items = network.item_vectors()
    with torch.no_grad():
        found = []
        for log in (data, changed):
            product, *rest = module.events(log, samples, batch)
            found.append(network(items, torch.from_numpy(product), *rest))
    assert torch.equal(*found)


def test_sampled_sums_of_exponentials_have_the_full_sum_as_their_mean() -> None:
    shared, samples = learning(training_data(), sampled_products=20)
    logits = np.random.default_rng(1).normal(size=len(shared.data.products))
    target = samples.target[:9].astype(np.int64)
    full = np.exp(logits[shared.warm]).sum()
    rng, sums = np.random.default_rng(2), []
    for _ in range(4_000):
        columns, correction = module.softmax_columns(shared, target, rng)
        assert np.isin(target, columns).all() and len(columns) < len(shared.warm)
        sums.append(np.exp(logits[columns] - correction).sum())
    deviation = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - full) < 4 * deviation < 0.04 * full


def test_the_gradient_of_sampled_losses_is_close_to_that_of_the_whole_softmax() -> None:
    data = training_data()
    shared, samples = learning(data, sampled_products=40)
    network, batch = network_of(shared), np.arange(0, len(samples), 50)

    def gradient(rng: np.random.Generator | None) -> np.ndarray:
        network.zero_grad(set_to_none=True)
        module.loss_of(shared, network, samples, batch, None, rng).backward()
        assert network.own.weight.grad is not None
        return network.own.weight.grad.numpy().copy()

    whole, rng = gradient(None), np.random.default_rng(3)
    mean = np.mean([gradient(rng) for _ in range(150)], axis=0)
    assert np.linalg.norm(mean - whole) < 0.1 * np.linalg.norm(whole)
    # Without the correction products drawn often would be pushed down too far.
    once = gradient(np.random.default_rng(4))
    assert np.linalg.norm(once - whole) > 0.1 * np.linalg.norm(whole), "one draw is no oracle"


def test_the_graph_gives_the_vectors_of_the_network() -> None:
    data = training_data()
    shared, _ = learning(data)
    network = network_of(shared)
    with torch.no_grad():
        vectors = network.item_vectors().numpy()
    popularity, bias = np.ones(len(vectors), dtype=np.float32), np.zeros(len(vectors), dtype=np.float32)
    model = TwoTowerRecommender(data.products, popularity, vectors, bias, shopper_graph(network))
    histories = data.histories()
    assert histories.lengths.max() <= NEWEST_EVENTS
    ours = model.shopper_vectors(histories)
    gaps = gap_classes(histories.now - histories.timestamps)
    for row in range(0, len(histories), 9):
        own = slice(int(histories.indptr[row]), int(histories.indptr[row + 1]))
        inputs = [
            torch.from_numpy(part[own].astype(np.int64))[None] for part in (histories.products, histories.types, gaps)
        ]
        with torch.no_grad():
            theirs = network(network.item_vectors(), *inputs, torch.ones_like(inputs[0], dtype=torch.bool))[0].numpy()
        assert np.abs(ours[row] - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_padding_does_not_show() -> None:
    shared, samples = learning(training_data())
    network, batch = network_of(shared), np.arange(40)
    items = network.item_vectors()
    product, *rest = module.events(shared.data, samples, batch)
    with torch.no_grad():
        together = network(items, torch.from_numpy(product), *rest)
        for row in range(0, 40, 7):
            alone, *own = module.events(shared.data, samples, batch[row : row + 1])
            assert torch.allclose(together[row], network(items, torch.from_numpy(alone), *own)[0], atol=1e-5)


def test_only_the_newest_events_are_read() -> None:
    data = training_data()
    model = TwoTower(**TINY).fit(data)
    one = data.histories().rows(3, 4)
    length = len(one.products)
    many = replace(
        one,
        indptr=np.array([0, length * 40]),
        products=np.tile(one.products, 40),
        types=np.tile(one.types, 40),
        timestamps=one.timestamps[-1] - 60 * np.arange(length * 40)[::-1],
    )
    newest = replace(
        many,
        indptr=np.array([0, NEWEST_EVENTS]),
        products=many.products[-NEWEST_EVENTS:],
        types=many.types[-NEWEST_EVENTS:],
        timestamps=many.timestamps[-NEWEST_EVENTS:],
    )
    assert len(many.products) > NEWEST_EVENTS
    assert np.array_equal(model.shopper_vectors(many), model.shopper_vectors(newest))


def test_events_of_one_moment_have_no_order() -> None:
    data = training_data()
    model = TwoTower(**TINY).fit(data)
    one = data.histories().rows(3, 4)
    basket = replace(one, timestamps=np.full_like(one.timestamps, one.timestamps[0]))
    turned = replace(basket, products=basket.products[::-1], types=basket.types[::-1])
    assert np.array_equal(model.shopper_vectors(basket), model.shopper_vectors(turned)), "not by one bit"


def test_ages_fall_into_classes() -> None:
    assert gap_classes(np.array([0, 3599, 3600, 6 * 3600, DAY, 30 * DAY, 10_000 * DAY])).tolist() == [
        0, 0, 1, 2, 3, 7, len(GAP_DAYS),
    ]  # fmt: skip


def test_a_graph_that_differs_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_off(network: TwoTowers) -> bytes:
        graph = onnx.load_from_string(shopper_graph(network))
        for initializer in graph.graph.initializer:
            if initializer.name == "narrow_weight":
                weight = onnx.numpy_helper.to_array(initializer) * np.float32(1.001)
                initializer.CopyFrom(onnx.numpy_helper.from_array(weight, "narrow_weight"))
        return bytes(graph.SerializeToString())

    monkeypatch.setattr(module, "shopper_graph", slightly_off)
    with pytest.raises(ExportError, match="differ from torch's by"):
        TwoTower(**TINY).fit(training_data())


def test_products_nobody_touched_are_known_by_their_description() -> None:
    data = training_data()
    left_out = int(data.product[0])
    kept = data.where(data.product != left_out)
    model = TwoTower(**{**TINY, "described_by": 40, "epochs": 6}).fit(kept)
    near = model.similar_items(np.array([left_out], dtype=np.int32), 5).products[0]
    taste = [int(name[1:]) // 12 for name in data.products.external(np.append(near, left_out))]
    assert taste[:5].count(taste[5]) >= 4, "its name tells its taste"


def test_a_log_without_a_second_moment_is_refused() -> None:
    data = training_data()
    first = np.diff(data.user, prepend=-1) != 0
    with pytest.raises(NothingToLearn, match="nothing to learn from"):
        TwoTower(**TINY).fit(data.where(first))


def test_divergence_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(ValueError, match="lower learning_rate"):
        TwoTower(**{**TINY, "learning_rate": 1e30}).fit(training_data())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"size": 0}, "size"),
        ({"heads": 1.5}, "heads"),
        ({"described_by": -1}, "described_by"),
        ({"dropout": 1.0}, "dropout must be less than 1"),
        ({"horizon_days": 0.0}, "horizon_days"),
        ({"patience": True}, "patience"),
        ({"sampled_products": 0}, "sampled_products"),
        ({"type_weights": {"wish": 1.0}}, "wish"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer("two_tower", parameters)


def test_it_learns_with_the_whole_softmax_and_with_a_sampled_one() -> None:
    known = known_shop(SyntheticShopConfig(days=60, n_users=400, n_products=200, n_categories=6), 14)
    truths = futures(known, 3)

    def reached(model: Recommender) -> float:
        return expected_ndcg(evaluate("any", model, known.task, 10).recommended, truths)

    popular = reached(Popularity().fit(known.data))
    small: dict[str, Any] = {"size": 16, "most_samples": 3_000, "patience": 0, "epochs": 5}
    whole = reached(TwoTower(**small).fit(known.data))
    sampled = reached(TwoTower(**small, sampled_products=60).fit(known.data))
    assert whole > 1.2 * popular
    assert sampled > 0.85 * whole
