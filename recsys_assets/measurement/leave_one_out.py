"""Leave-one-out, the protocol of published sequential-recommendation tables: predict every shopper's last item.

This project chooses and promotes models by the global split in time (``protocol``); this one is for comparison with the
literature.

For every shopper with at least three relevant events, the last is the test item and the second-last the validation
item; everything is ranked against everything, without sampled negatives; figures are means over all those shoppers
(Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018, with the full ranking of Krichene and Rendle,
"On sampled metrics for item recommendation", KDD 2020). With one relevant product per shopper

* ``HR@k``: 1 if it is among the first ``k``, else 0;
* ``NDCG@k``: ``1 / log2(rank + 1)`` if it is among the first ``k``, else 0.

Every shopper is cut at another moment, so models also learn from events after a shopper's cut: the figures compare
methods, and do not predict results in a shop. Published tables differ in whether the shopper's own past may be listed
(``mask_history``) and in whether the tested model has learned from the validation items (``learn_validation``; most
published code trains once, before them). State both with a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray
from recsys_assets.measurement.metrics import FloatArray, ranking_metrics
from recsys_assets.measurement.translation import Progress, recommended_lists
from recsys_assets.models.dataset import TrainingData, second_after
from recsys_assets.schema import relevant_types

MINIMUM_EVENTS = 3
"""A shopper's test item, validation item and one event of history."""

HeldOut = Literal["validation", "test"]


@dataclass(frozen=True)
class LeaveOneOut:
    """Every shopper's sequence, cut before one item. ``B`` shoppers are evaluated.

    Attributes:
        held_out: which item is to be found.
        training: what may be learned from: all events of everybody before their own cut, or, for the test without
            ``learn_validation``, before their own validation item.
        histories: the evaluated shoppers' events before the cut, in the indices of ``training.products``.
        exclude: products each evaluated shopper must not get, row-aligned with ``histories``: those of the history's
            relevant events, or nothing where ``mask_history`` was off.
        target: int32 ``[B]``, the item to be found.
        ambiguous: evaluated shoppers whose target shares its timestamp with another of their events: which of the two
            comes last is a convention there, and figures of a log with many such shoppers depend on it.
        unreachable: evaluated shoppers whose target is among their excluded products: a miss for every model.
    """

    held_out: HeldOut
    training: TrainingData = field(repr=False)
    histories: Histories = field(repr=False)
    exclude: Ragged = field(repr=False)
    target: IndexArray = field(repr=False)
    ambiguous: int
    unreachable: int

    @property
    def products(self) -> IdMap:
        """Every product of catalogue and log; all of them are ranked."""
        return self.training.products

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class LeaveOneOutEvaluation:
    """What one recommender did. Arrays are row-aligned with the evaluated shoppers.

    Attributes:
        name: of the model.
        recommended: int32 ``[B, k]``, indices of the task's products, ``-1`` padding.
        target: int32 ``[B]``.
    """

    name: str
    recommended: IndexArray = field(repr=False)
    target: IndexArray = field(repr=False)

    def per_shopper(self, k: int) -> dict[str, FloatArray]:
        """``HR@k`` and ``NDCG@k``, float64 ``[B]`` each.

        Raises:
            ValueError: ``k`` < 1, or the lists are shorter.
        """
        if k > self.recommended.shape[1]:
            raise ValueError(
                f"lists of {self.recommended.shape[1]} places cannot be evaluated at k={k}; ask for longer"
            )
        truth = Ragged(np.arange(len(self.target) + 1, dtype=np.int64), self.target)
        metrics = ranking_metrics(self.recommended, truth, k)
        return {f"HR@{k}": metrics["hit_rate"], f"NDCG@{k}": metrics["ndcg"]}

    def table(self, ks: Sequence[int] = (5, 10)) -> dict[str, float]:
        """Means over all evaluated shoppers: ``{"HR@5": ..., "NDCG@5": ..., "HR@10": ..., ...}``."""
        return {name: float(values.mean()) for k in ks for name, values in self.per_shopper(k).items()}


def leave_one_out(
    interactions: pa.Table,
    products: pa.Table,
    held_out: HeldOut = "test",
    *,
    mask_history: bool = True,
    learn_validation: bool = False,
    relevant: frozenset[InteractionType] | None = None,
) -> LeaveOneOut:
    """Cut every shopper's sequence before the held-out item.

    Held out are events of a relevant type; all other events before the cut are history too, and everything after the
    cut is dropped. Choose parameters on ``"validation"`` and report ``"test"``; for the test, the validation item is
    part of the shopper's history, and by default not of what is learned from. Shoppers with fewer than three relevant
    events are not evaluated and keep all their events in the training data. Events of one second have no order of their
    own: they are taken in the order of the SHA-256 of their product's id, which says nothing, never in the order of
    ids or rows.

    Args:
        interactions, products: canonical tables, in any row order. Products that only the log names are added.
        mask_history: keep products of which the shopper's history holds a relevant event out of the lists.
        learn_validation: for ``"test"``: learn from the validation items (and what happened between them and the test
            items) too. A shop would; published tables as a rule do not.
        relevant: types an item is held out from; by default those of `relevant_types`.

    Raises:
        ValueError: the log is empty, ``held_out`` is unknown, or nobody has three relevant events.
    """
    if held_out not in ("validation", "test"):
        raise ValueError(f"held_out must be 'validation' or 'test', not {held_out!r}")
    kinds = relevant_types(interactions) if relevant is None else relevant
    log = TrainingData.from_tables(interactions, products, second_after(interactions))
    last, second_last = _last_two(log, kinds)
    cut = last if held_out == "test" else second_last
    if len(cut) == 0:
        labels = ", ".join(sorted(kind.label for kind in kinds))
        raise ValueError(
            f"none of {len(log.users)} shoppers has the {MINIMUM_EVENTS} events ({labels}) that leave-one-out needs; "
            "use a split in time, or name other types in relevant"
        )
    histories = log.where(_before(log, cut)).histories_of(log.user[cut])
    exclude = histories.distinct_products(kinds if mask_history else ())
    target = log.product[cut]
    return LeaveOneOut(
        held_out=held_out,
        training=log.where(_before(log, cut if learn_validation else second_last)),
        histories=histories,
        exclude=exclude,
        target=target,
        ambiguous=_ambiguous(log, cut),
        unreachable=int((exclude.values == np.repeat(target, np.diff(exclude.indptr))).sum()),
    )


def evaluate_leave_one_out(
    name: str, recommender: Recommender, task: LeaveOneOut, k: int = 10, progress: Progress | None = None
) -> LeaveOneOutEvaluation:
    """Let a recommender list ``k`` products for every evaluated shopper (`recommended_lists`)."""
    every = np.arange(len(task.products), dtype=np.int32)
    lists = recommended_lists(
        recommender, task.products, task.histories, k, exclude=task.exclude, candidates=every, progress=progress
    )
    return LeaveOneOutEvaluation(name, lists, task.target)


def _last_two(log: TrainingData, kinds: frozenset[InteractionType]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The last and the second-last event of one of ``kinds`` of each shopper with `MINIMUM_EVENTS` of them."""
    relevant = np.flatnonzero(log.is_of(kinds))
    counts = np.bincount(log.user[relevant], minlength=len(log.users))
    enough = counts >= MINIMUM_EVENTS
    last = np.cumsum(counts)[enough] - 1
    return relevant[last], relevant[last - 1]


def _before(log: TrainingData, cut: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool ``[E]``: events before the position ``cut`` of their shopper; all events of shoppers without a cut."""
    cut_of_user = np.full(len(log.users), len(log.user), dtype=np.int64)
    cut_of_user[log.user[cut]] = cut
    return np.arange(len(log.user)) < cut_of_user[log.user]


def _ambiguous(log: TrainingData, cut: NDArray[np.int64]) -> int:
    beside = (np.diff(log.user) == 0) & (np.diff(log.timestamp) == 0)
    tied = np.append(beside, False) | np.append(False, beside)
    return int(tied[cut].sum())
