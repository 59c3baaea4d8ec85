"""Training of the two towers: cross entropy over products, the number of epochs chosen on the newest moments.

Imports torch: import it inside functions only.
"""

# ruff: noqa: TID253

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from lambda_api.recommender.csr import find_sorted, offsets, ranges
from lambda_api.recommender.profiles import SECONDS_PER_DAY
from lambda_api.recommender.two_tower import NEWEST_EVENTS, TwoTowerRecommender, gap_classes
from recsys_assets.models.dataset import TrainingData, decay
from recsys_assets.models.parameters import NothingToLearn
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.models.torch_fit import ExportError, torch_threads
from recsys_assets.models.trainer import Diverged, Report
from recsys_assets.models.two_tower_network import TwoTowers, shopper_graph
from recsys_assets.models.two_tower_parameters import TwoTowerParameters
from recsys_assets.models.two_tower_samples import Samples, draw

Weights = dict[str, torch.Tensor]
"""Of a network, by name."""

BANNED = -1e4
"""Logit of products that the shopper touched before: they are neither targets nor negatives."""

LONGEST_STEP = 5.0
"""Largest norm of a gradient."""

AVERAGED = 0.98
"""Decay per step of the averaged weights that are stored (Polyak averaging), which are less noisy."""

TOLERANCE = 1e-4
"""Largest difference between torch's and ONNX Runtime's vectors, relative to the largest entry."""

EVENT_BATCH = 256

CANDIDATES = 100
"""Length of the lists whose recall chooses the number of epochs."""

LEAST_TO_CHOOSE = 200
"""Fewest samples on either side for which the number of epochs is chosen."""


@dataclass(frozen=True)
class Learning:
    """What all runs of one training share.

    Attributes:
        content: float32 ``[n_products, c]``, descriptions of products.
        warm: products with an event, ascending; the softmax runs over them. frequency: share of each in all events.
        start: initial weights; ``None`` draws them.
    """

    trainer: TwoTowerParameters
    data: TrainingData
    content: NDArray[np.float32]
    warm: NDArray[np.int64]
    frequency: NDArray[np.float64]
    start: Weights | None = None

    @classmethod
    def of(
        cls, trainer: TwoTowerParameters, data: TrainingData, content: NDArray[np.float32], start: Weights | None = None
    ) -> Self:
        """With ``warm`` and ``frequency`` counted in ``data``."""
        touched = np.bincount(data.product, minlength=len(data.products))
        return cls(trainer, data, content, np.flatnonzero(touched), touched / touched.sum(), start)

    def network(self) -> TwoTowers:
        """A network before training."""
        t = self.trainer
        network = TwoTowers(torch.from_numpy(self.content), t.size, t.heads, t.dropout, t.seed)
        if self.start is not None:
            network.load_state_dict(self.start)
        return network


def trained_towers(
    trainer: TwoTowerParameters,
    data: TrainingData,
    content: NDArray[np.float32],
    report: Report,
    start: Weights | None = None,
) -> tuple[TwoTowerRecommender, Weights]:
    """See ``TwoTower.fit``; also returns the weights, from which a later training may ``start``."""
    rng = np.random.default_rng([trainer.seed, 0])
    samples = draw(data, trainer.weights, trainer.horizon_days, trainer.most_samples, rng)
    if len(samples) == 0:
        raise NothingToLearn(
            f"{trainer.name} has nothing to learn from: no shopper has touched a product and later, within "
            f"{trainer.horizon_days:g} days, another",
            remedy="widen the data window or horizon_days",
        )
    shared = Learning.of(trainer, data, content, start)
    with torch_threads(trainer.threads):
        epochs = _best_epochs(shared, samples, report)
        network = _trained(shared, samples, epochs, report)
        return _exported(shared, network, samples), network.state_dict()


def _best_epochs(shared: Learning, samples: Samples, report: Report) -> int:
    """The number of epochs after which a training on older samples predicts the newest horizon best."""
    trainer = shared.trainer
    before, after = before_and_after(samples, shared.data.as_of, trainer.horizon_days)
    if trainer.patience == 0 or min(len(before), len(after)) < LEAST_TO_CHOOSE:
        return trainer.epochs
    found: list[float] = []

    def choose(network: TwoTowers) -> bool:
        found.append(_recall(shared, network, after))
        report("validation_recall", found[-1])
        return len(found) - 1 - int(np.argmax(found)) >= trainer.patience

    _trained(shared, before, trainer.epochs, report, choose)
    return int(np.argmax(found)) + 1


def before_and_after(samples: Samples, as_of: int, horizon_days: float) -> tuple[Samples, Samples]:
    """Samples whose horizon ends before the newest horizon of the data begins, and samples within that."""
    horizon = int(horizon_days * SECONDS_PER_DAY)
    border = as_of - horizon
    return samples.where(samples.now <= border - horizon), samples.where(samples.now > border)


def _recall(shared: Learning, network: TwoTowers, samples: Samples) -> float:
    """Mean share of a sample's targets among the best `CANDIDATES` products that the shopper has not touched."""
    total = 0.0
    with torch.no_grad():
        items = network.item_vectors()
        for batch in np.array_split(np.arange(len(samples)), -(-len(samples) // EVENT_BATCH)):
            product, *rest = events(shared.data, samples, batch)
            logits = network(items, torch.from_numpy(product), *rest) @ items.T + network.bias
            seen_row, seen = (torch.from_numpy(part) for part in _seen(shared.data, samples, batch))
            logits[seen_row, seen] = BANNED
            best = torch.zeros(logits.shape, dtype=torch.bool)
            best.scatter_(1, logits.topk(min(CANDIDATES, logits.shape[1]), dim=1).indices, True)
            row, target, _ = _targets(samples, batch)
            hits = np.bincount(row, weights=best.numpy()[row, target], minlength=len(batch))
            total += float((hits / np.diff(samples.indptr)[batch]).sum())
    return total / len(samples)


def _trained(
    shared: Learning,
    samples: Samples,
    epochs: int,
    report: Report,
    stop: Callable[[TwoTowers], bool] = lambda network: False,
) -> TwoTowers:
    trainer = shared.trainer
    network = shared.network()
    averaged = {name: value.detach().clone() for name, value in network.named_parameters()}
    adam = torch.optim.AdamW(
        network.parameters(), lr=trainer.learning_rate, weight_decay=trainer.weight_decay, fused=True
    )
    generator = torch.Generator().manual_seed(trainer.seed)
    rng = np.random.default_rng([trainer.seed, 1])
    for epoch in range(1, epochs + 1):
        total, order = 0.0, rng.permutation(len(samples))
        for start in range(0, len(order), trainer.batch_size):
            batch = order[start : start + trainer.batch_size]
            loss = loss_of(shared, network, samples, batch, generator, rng)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST_STEP)
            adam.step()
            for name, value in network.named_parameters():
                averaged[name].mul_(AVERAGED).add_(value.detach(), alpha=1.0 - AVERAGED)
            total += float(loss.detach()) * len(batch)
        if not np.isfinite(total):
            raise Diverged(f"{trainer.name}: the loss did not stay finite", remedy="lower learning_rate")
        report("loss", total / len(samples))
        report("epoch", float(epoch))
        if stop(_with(shared, averaged)):
            break
    return _with(shared, averaged)


def _with(shared: Learning, averaged: dict[str, torch.Tensor]) -> TwoTowers:
    network = shared.network()
    network.load_state_dict({**network.state_dict(), **averaged})
    return network


def loss_of(
    shared: Learning,
    network: TwoTowers,
    samples: Samples,
    batch: NDArray[np.int64],
    generator: torch.Generator | None,
    rng: np.random.Generator | None,
) -> torch.Tensor:
    """Mean over samples of the cross entropy of their targets.

    A target weighs its grade over the square root of the sample's number of targets, times the sample's decay. With a
    generator ``rng`` and a large catalogue the softmax runs over sampled columns whose logits are reduced by the
    logarithm of their probability of being sampled (Bengio & Senécal, "Adaptive importance sampling", 2008; Yi et al.,
    "Sampling-bias-corrected neural modeling", RecSys 2019).
    """
    row, target, share = _targets(samples, batch)
    age = shared.data.as_of - samples.now[batch]
    share = share * decay(age, shared.trainer.event_half_life_days).astype(np.float32)[row]
    columns, correction = softmax_columns(shared, target, rng)
    product, kind, gap, real = events(shared.data, samples, batch)
    # Of a large catalogue only the products of this batch.
    needed = shared.warm if len(columns) == len(shared.warm) else np.union1d(columns, product[real.numpy()])
    place = np.zeros(len(shared.data.products), dtype=np.int64)
    place[needed] = np.arange(len(needed))
    items = network.item_vectors(torch.from_numpy(needed), generator)
    shoppers = network(items, torch.from_numpy(place[product]), kind, gap, real, generator)
    chosen = torch.from_numpy(columns)
    logits = shoppers @ items[torch.from_numpy(place[columns])].T + network.bias[chosen] - torch.from_numpy(correction)
    place[:] = -1
    place[columns] = np.arange(len(columns))
    seen_row, seen = _seen(shared.data, samples, batch)
    inside = place[seen] >= 0
    logits = logits.index_put(
        (torch.from_numpy(seen_row[inside]), torch.from_numpy(place[seen[inside]])), torch.tensor(BANNED)
    )
    likelihood = logits.log_softmax(1)[torch.from_numpy(row), torch.from_numpy(place[target])]
    return -(likelihood * torch.from_numpy(share)).sum() / len(batch)


def softmax_columns(
    shared: Learning, target: NDArray[np.int64], rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Products of the softmax, ascending, and the logarithm of each one's probability of being among them.

    Targets of the batch always are. With each logit reduced by it, the expectation of the sum of exponentials is the
    sum over all products.
    """
    draws = shared.trainer.sampled_products
    if rng is None or len(shared.warm) <= 2 * draws:
        return shared.warm, np.zeros(len(shared.warm), dtype=np.float32)
    chance = 0.5 * shared.frequency[shared.warm] + 0.5 / len(shared.warm)
    drawn = rng.choice(shared.warm, draws, p=chance / chance.sum())
    columns = np.union1d(drawn, target)
    there = -np.expm1(draws * np.log1p(-chance[find_sorted(shared.warm, columns)[0]]))
    return columns, np.where(np.isin(columns, target), 0.0, np.log(there)).astype(np.float32)


def _targets(
    samples: Samples, batch: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    counts = np.diff(samples.indptr)[batch]
    row = np.repeat(np.arange(len(batch)), counts)
    at = ranges(samples.indptr[batch], counts)
    return row, samples.target[at].astype(np.int64), (samples.grade[at] / np.sqrt(counts[row])).astype(np.float32)


def _seen(
    data: TrainingData, samples: Samples, batch: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    counts = samples.stop[batch] - samples.first[batch]
    return np.repeat(np.arange(len(batch)), counts), data.product[ranges(samples.first[batch], counts)].astype(np.int64)


def events(
    data: TrainingData, samples: Samples, batch: NDArray[np.int64]
) -> tuple[NDArray[np.int64], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Products, types and gap classes of the newest events, and what is no padding; ``[b, longest of the batch]``."""
    counts = np.minimum(samples.stop[batch] - samples.first[batch], NEWEST_EVENTS)
    at = ranges(samples.stop[batch] - counts, counts)
    row = np.repeat(np.arange(len(batch)), counts)
    place = np.arange(len(at)) - np.repeat(offsets(counts)[:-1], counts)
    gaps = gap_classes(samples.now[batch][row] - data.timestamp[at])
    padded = np.zeros((4, len(batch), int(counts.max())), dtype=np.int64)
    padded[:, row, place] = np.stack([data.product[at], data.kind[at], gaps, np.ones_like(at)])
    kind, gap, real = (torch.from_numpy(part) for part in padded[1:])
    return padded[0], kind, gap, real.bool()


def _exported(shared: Learning, network: TwoTowers, samples: Samples) -> TwoTowerRecommender:
    trainer, data = shared.trainer, shared.data
    with torch.no_grad():
        # A cold product has no trained vector of its own and no bias: its description alone counts.
        cold = np.setdiff1d(np.arange(len(data.products)), shared.warm)
        network.own.weight[torch.from_numpy(cold)] = 0.0
        network.bias[torch.from_numpy(cold)] = network.bias[torch.from_numpy(shared.warm)].median()
        vectors, bias = network.item_vectors().numpy().copy(), network.bias.numpy().copy()
    popularity = decayed_popularity(data, trainer.weights, trainer.popularity_half_life_days)
    model = TwoTowerRecommender(data.products, popularity, vectors, bias, shopper_graph(network))
    _require_parity(shared, network, model, samples)
    return model


def _require_parity(shared: Learning, network: TwoTowers, model: TwoTowerRecommender, samples: Samples) -> None:
    """Raise `ExportError` unless ONNX Runtime computes the same vectors as torch for shoppers of the data."""
    users = np.unique(shared.data.user[samples.first])[:EVENT_BATCH]
    histories = shared.data.histories_of(users)
    stop = histories.indptr[1:]
    none = np.zeros(len(stop) + 1, dtype=np.int64), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    asked = Samples(histories.indptr[:-1], stop, np.full(len(stop), histories.now), *none)
    view = shared.data.where(np.isin(shared.data.user, users))
    with torch.no_grad():
        product, *rest = events(view, asked, np.arange(len(stop)))
        theirs = network(network.item_vectors(), torch.from_numpy(product), *rest).numpy()
    ours = model.shopper_vectors(histories)
    difference = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-12))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{shared.trainer.name}: ONNX Runtime's vectors differ from torch's by {difference:.2g}",
            remedy="do not use this model; check the versions of torch and onnxruntime",
        )
