"""The training loop of NCF: epochs over positives and new negatives, resumable between any two batches.

Imports torch: import it inside functions only.
"""

# ruff: noqa: TID253

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lambda_api.recommender.csr import find_sorted
from recsys_assets.models.ncf_network import NeuMF
from recsys_assets.models.ncf_parameters import NcfParameters
from recsys_assets.models.positives import Holdout, NegativeSampler, Positives

VALIDATION_K = 10
"""Cut-off of the validation NDCG."""

MAX_VALIDATION_USERS = 1_000
"""Most users of the validation NDCG; its standard error is then about 0.005."""

_USERS_PER_BLOCK = 64


class OnBatch(Protocol):
    """Called after every batch with the step within the epoch and the summed loss so far; may raise to stop."""

    def __call__(self, step: int, loss_sum: float) -> None: ...


class Loop:
    """One network, its Adam optimiser and its data; all randomness is a function of seed, phase and epoch number."""

    def __init__(self, network: NeuMF, positives: Positives, how: NcfParameters, phase: int) -> None:
        self.network = network
        self._positives = positives
        self._how = how
        self._phase = phase
        self._sampler = NegativeSampler(positives, how.sampling)
        self._adam = torch.optim.Adam(
            network.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay, fused=True
        )

    def run_epoch(self, epoch: int, on_batch: OnBatch, first_step: int = 0, loss_sum: float = 0.0) -> float:
        """Take every step of ``epoch`` (from 1) after ``first_step``; returns the mean loss per pair of a positive.

        ``first_step`` and ``loss_sum``: those of the last ``on_batch`` call of an interrupted epoch.
        """
        rng = np.random.default_rng([self._how.seed, self._phase, epoch])
        negatives = self._sampler.sample(rng, self._positives.user, self._how.negatives)
        order = rng.permutation(len(self._positives))
        items = np.concatenate([self._positives.product[:, None], negatives], axis=1)[order]
        user, item = torch.from_numpy(self._positives.user[order]), torch.from_numpy(items)
        weight = torch.from_numpy(self._positives.weight[order])
        size = self._how.batch_size or len(order)
        for step, start in enumerate(range(0, len(order), size), start=1):
            if step > first_step:
                batch = slice(start, start + size)
                loss_sum += self._step(user[batch], item[batch], weight[batch])
                on_batch(step, loss_sum)
        return loss_sum / len(order)

    def _step(self, user: torch.Tensor, item: torch.Tensor, weight: torch.Tensor) -> float:
        loss = pair_loss(self.network(user, item.clamp(min=0)), item, weight)
        self._adam.zero_grad(set_to_none=True)
        (loss / len(user)).backward()
        self._adam.step()
        return float(loss.detach())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Parameters and optimiser state as plain arrays: everything the next step depends on."""
        state = self._adam.state_dict()["state"]
        arrays = {f"parameter.{name}": value.numpy().copy() for name, value in self.network.state_dict().items()}
        for index, slots in state.items():
            arrays |= {f"adam.{index}.{slot}": value.numpy().copy() for slot, value in slots.items()}
        return arrays

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Inverse of `arrays`."""
        self.network.load_state_dict(
            {name: torch.from_numpy(arrays[f"parameter.{name}"].copy()) for name in self.network.state_dict()}
        )
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in arrays.items():
            if name.startswith("adam."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = torch.from_numpy(value.copy())
        self._adam.load_state_dict({**self._adam.state_dict(), "state": slots})


def pair_loss(logits: torch.Tensor, item: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Summed binary cross-entropy of ``b`` positives (column 0) and their negatives (He et al. 2017, equation 7).

    Args:
        logits: ``[b, 1 + negatives]``.
        item: same shape; ``-1`` marks a negative that does not exist, which counts nothing.
        weight: ``[b]``, weight of each positive; a negative weighs 1.
    """
    target = torch.zeros_like(logits)
    target[:, 0] = 1.0
    weights = (item >= 0).to(logits.dtype)
    weights[:, 0] = weight
    return nn.functional.binary_cross_entropy_with_logits(logits, target, weights, reduction="sum")


class Validation:
    """Quality on the holdout, with the same users and negatives after every epoch."""

    def __init__(self, holdout: Holdout, how: NcfParameters) -> None:
        rng = np.random.default_rng([how.seed, 0, 0])
        users = holdout.users
        if len(users) > MAX_VALIDATION_USERS:
            users = np.sort(rng.choice(users, MAX_VALIDATION_USERS, replace=False))
        kept = np.isin(holdout.user, users)
        self._user, self._product = holdout.user[kept], holdout.product[kept]
        self._users = users
        self._train = holdout.train
        self._trained = np.bincount(holdout.train.product, minlength=holdout.train.n_products) > 0
        self._negatives = NegativeSampler(holdout.train, how.sampling).sample(rng, self._user, how.negatives)

    def loss(self, network: NeuMF) -> float:
        """Mean binary cross-entropy per held-out positive and its negatives."""
        item = torch.from_numpy(np.concatenate([self._product[:, None], self._negatives], axis=1))
        with torch.no_grad():
            logits = network(torch.from_numpy(self._user), item.clamp(min=0))
            return float(pair_loss(logits, item, torch.ones(len(item)))) / len(item)

    def ndcg(self, network: NeuMF) -> float:
        """Mean NDCG@10 over the holdout's users: full ranking of trained products, training pairs excluded."""
        total = 0.0
        for start in range(0, len(self._users), _USERS_PER_BLOCK):
            total += float(self._block_ndcg(network, self._users[start : start + _USERS_PER_BLOCK]).sum())
        return total / len(self._users)

    def _block_ndcg(self, network: NeuMF, users: NDArray[np.int32]) -> NDArray[np.float64]:
        with torch.no_grad():
            scores = network.score_all(torch.from_numpy(users)).numpy()
        scores[:, ~self._trained] = -np.inf
        scores[_rows_and_columns(users, self._train.user, self._train.product)] = -np.inf
        relevant = np.zeros(scores.shape, dtype=bool)
        relevant[_rows_and_columns(users, self._user, self._product)] = True
        k = min(VALIDATION_K, scores.shape[1])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        discount = 1.0 / np.log2(np.arange(2, k + 2))
        gain = (np.take_along_axis(relevant, best, axis=1) * discount).sum(axis=1)
        ideal = np.cumsum(discount)[np.minimum(relevant.sum(axis=1), k) - 1]
        ndcg: NDArray[np.float64] = gain / ideal
        return ndcg


def _rows_and_columns(
    users: NDArray[np.int32], pair_user: NDArray[np.int32], pair_product: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Places of the pairs of ``users`` (ascending) in a matrix with a row for each of them."""
    rows, ours = find_sorted(users, pair_user)
    return rows[ours], pair_product[ours]
