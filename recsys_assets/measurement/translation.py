"""Translates product indices between an evaluation task and the recommender being evaluated."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lambda_api.recommender.contract import Recommender
from lambda_api.recommender.csr import offsets_of_rows
from lambda_api.recommender.histories import Histories, Ragged
from lambda_api.recommender.ids import IdMap, IndexArray

USERS_PER_BATCH = 2048

Progress = Callable[[int, int], None]
"""Receives users done and users in all, after every batch."""


@dataclass(frozen=True, slots=True)
class Translation:
    """Index tables in both directions; ``-1`` stands for a product the other side does not know.

    Attributes:
        to_model: int32 ``[n_task]``.
        to_task: int32 ``[n_model + 1]``; the extra last entry is ``-1``, so that padding ``-1`` maps to itself.
    """

    to_model: IndexArray
    to_task: IndexArray

    @classmethod
    def between(cls, task_products: IdMap, model_products: IdMap) -> "Translation":
        """Match two maps by external id."""
        to_model = model_products.indices(task_products.external(np.arange(len(task_products))))
        to_task = np.full(len(model_products) + 1, -1, dtype=np.int32)
        known = np.flatnonzero(to_model >= 0)
        to_task[to_model[known]] = known
        return cls(to_model, to_task)

    def indices(self, products: IndexArray) -> IndexArray:
        """The model's indices of those of ``products`` it knows, ascending."""
        translated = self.to_model[products]
        return np.sort(translated[translated >= 0])

    def histories(self, histories: Histories) -> Histories:
        """The same shoppers in the model's indices, without events on products it does not know."""
        products = self.to_model[histories.products]
        known = products >= 0
        return replace(
            histories,
            indptr=offsets_of_rows(histories.shopper_of_event[known], len(histories)),
            products=products[known],
            types=histories.types[known],
            timestamps=histories.timestamps[known],
        )

    def ragged(self, rows: Ragged) -> Ragged:
        """The same rows in the model's indices, without products it does not know."""
        values = self.to_model[rows.values]
        known = values >= 0
        return Ragged(offsets_of_rows(rows.row_of_value[known], len(rows)), values[known])

    def back(self, products: IndexArray) -> IndexArray:
        """The model's lists (any shape, ``-1`` padding) in the task's indices."""
        return self.to_task[products]


def recommended_lists(
    recommender: Recommender,
    products: IdMap,
    histories: Histories,
    k: int,
    *,
    exclude: Ragged,
    candidates: IndexArray,
    progress: Progress | None = None,
) -> IndexArray:
    """Lists of ``k`` products for the ``B`` shoppers of ``histories``, int32 ``[B, k]``, ``-1`` padding.

    All indices are of ``products``; the recommender is asked in its own. Events on products it does not know are left
    out of its histories, and it cannot list them.
    """
    translation = Translation.between(products, recommender.products)
    candidates = translation.indices(candidates)
    lists = []
    for start in range(0, len(histories), USERS_PER_BATCH):
        stop = min(start + USERS_PER_BATCH, len(histories))
        answer = recommender.recommend(
            translation.histories(histories.rows(start, stop)),
            k,
            exclude=translation.ragged(exclude.rows(start, stop)),
            candidates=candidates,
        )
        lists.append(translation.back(answer.products))
        if progress is not None:
            progress(stop, len(histories))
    return np.concatenate(lists)
