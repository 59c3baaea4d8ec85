"""Example lists for the report: what single shoppers were recommended, and what they then took."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from lambda_api.recommender.ids import IndexArray
from recsys_assets.measurement.protocol import EvaluationTask, ModelEvaluation

SHOWN: Final = 5
"""Names of earlier and of later products that are shown of one shopper."""


@dataclass(frozen=True, slots=True)
class ExampleList:
    """One shopper's list on the test window.

    Attributes:
        kind: how the shopper was chosen, in words.
        shopper: id.
        events: before the window.
        past: names of the newest distinct products before the window, newest first.
        taken: names of relevant products of the window.
        listed: name of each product listed, best first, and whether it was taken.
        ndcg: of the list.
    """

    kind: str
    shopper: str
    events: int
    past: tuple[str, ...]
    taken: tuple[str, ...]
    listed: tuple[tuple[str, bool], ...]
    ndcg: float


def example_lists(
    task: EvaluationTask, evaluation: ModelEvaluation, products: pa.Table | None = None
) -> tuple[ExampleList, ...]:
    """Three shoppers, or fewer where there are no such: a very good list, a usual list with a hit, one without a hit.

    They are the shopper at nine tenths and the one in the middle of the lists with a hit, ordered by NDCG, and the one
    in the middle of those without. Equal lists stay in the task's order, which says nothing about shoppers.
    """
    ndcg = evaluation.metrics["ndcg"]
    order = np.argsort(ndcg, kind="stable")
    hits, misses = order[ndcg[order] > 0], order[ndcg[order] == 0]
    chosen = {
        "a very good list": hits[int(0.9 * len(hits))] if len(hits) else None,
        "a usual list with a hit": hits[len(hits) // 2] if len(hits) else None,
        "a list without a hit": misses[len(misses) // 2] if len(misses) else None,
    }
    names = {}
    if products is not None:
        names = dict(zip(products["product_id"].to_pylist(), products["name"].to_pylist(), strict=True))
    return tuple(
        _example(kind, int(user), task, evaluation, names) for kind, user in chosen.items() if user is not None
    )


def _example(
    kind: str, user: int, task: EvaluationTask, evaluation: ModelEvaluation, names: dict[str, str | None]
) -> ExampleList:
    def named(indices: IndexArray) -> tuple[str, ...]:
        return tuple(names.get(found) or found for found in task.products.external(indices))

    history, taken = task.histories.rows(user, user + 1), task.truth.row(user)
    newest = np.array(list(dict.fromkeys(history.products[::-1].tolist()))[:SHOWN], dtype=np.int32)
    listed = evaluation.recommended[user]
    listed = listed[listed >= 0]
    return ExampleList(
        kind=kind,
        shopper=task.user_ids[user],
        events=len(history.products),
        past=named(newest),
        taken=named(taken[:SHOWN]),
        listed=tuple(zip(named(listed), np.isin(listed, taken).tolist(), strict=True)),
        ndcg=float(evaluation.metrics["ndcg"][user]),
    )
