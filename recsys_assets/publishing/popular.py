"""Lists of popular products, overall and by category: the fallback answer when no model can give one.

The popularity figure is ``recsys_assets.models.popularity``'s; the lists are stored by ``lambda_api.state.popular``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.interactions import InteractionType
from lambda_api.state.popular import PopularEntry
from recsys_assets.data_gate import require_open
from recsys_assets.known_catalogue import shop_catalogue
from recsys_assets.lake import Lake
from recsys_assets.models.dataset import DEFAULT_TYPE_WEIGHTS, TrainingData
from recsys_assets.models.popularity import decayed_popularity
from recsys_assets.training.training_window import TRAINING_COLUMNS

POPULAR_DAYS: Final = 28
"""Days that count: four half-lives of the popularity model; older events would weigh at most 1/16."""

LIST_LENGTH: Final = 200
"""Entries per list: the longest answer is 100, and filters or exclusions may remove as many."""


@dataclass(frozen=True)
class PopularLists:
    """Most popular first; ties by the products' index order, which is random but fixed.

    Attributes:
        overall: at most `LIST_LENGTH` available products with a positive score.
        by_category: the same for every category that has such a product, by name.
        counted: labels of the interaction types that counted.
    """

    overall: tuple[PopularEntry, ...]
    by_category: Mapping[str, tuple[PopularEntry, ...]]
    counted: tuple[str, ...]


def recent_data(lake: Lake, as_of: datetime, days: int = POPULAR_DAYS) -> TrainingData:
    """The last ``days`` before ``as_of`` (aware, UTC midnight) with the whole catalogue.

    Raises:
        GateClosed: one of these days, the catalogue or the users may not be used.
        LakeError: there is no event in these days.
    """
    start, end = (as_of - timedelta(days=days)).date(), as_of.date()
    require_open(lake, start, end)
    return TrainingData.from_tables(
        lake.read("interactions", TRAINING_COLUMNS, start, end), shop_catalogue(lake), as_of
    )


def counted_types(data: TrainingData) -> dict[InteractionType, float]:
    """Purchases alone, each counting 1; where nobody bought, every type with the weight that models give it."""
    if (data.kind == InteractionType.PURCHASE).any():
        return {InteractionType.PURCHASE: 1.0}
    return dict(DEFAULT_TYPE_WEIGHTS)


def recent_popularity(data: TrainingData) -> NDArray[np.float32]:
    """The popularity model's figure on `counted_types`, float32 ``[n_products]``."""
    return decayed_popularity(data, counted_types(data))


def by_popularity(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Product indices, most popular first; equals in index order."""
    return np.argsort(-scores, kind="stable")


def popular_lists(data: TrainingData, length: int = LIST_LENGTH) -> PopularLists:
    """The overall list and one for each category, of ``data`` as `recent_data` gives it."""
    scores = recent_popularity(data)
    ranked = by_popularity(scores)
    ranked = ranked[(scores[ranked] > 0) & is_available(data.catalogue)[ranked]]
    members: dict[str, list[int]] = {}
    for index, category in zip(
        ranked.tolist(), data.catalogue["category"].take(pa.array(ranked)).to_pylist(), strict=True
    ):
        if category and len(listed := members.setdefault(category, [])) < length:
            listed.append(index)
    return PopularLists(
        overall=_entries(data, scores, ranked[:length].tolist()),
        by_category={category: _entries(data, scores, listed) for category, listed in sorted(members.items())},
        counted=tuple(kind.label for kind, weight in counted_types(data).items() if weight > 0),
    )


def is_available(catalogue: pa.Table) -> NDArray[np.bool_]:
    """Which rows of an aligned `shop_catalogue` may be shown; a product that is not listed any more may not."""
    values: NDArray[np.bool_] = catalogue["available"].fill_null(False).to_numpy().astype(bool)
    return values


def _entries(data: TrainingData, scores: NDArray[np.float32], indices: list[int]) -> tuple[PopularEntry, ...]:
    columns = ("product_id", "name", "category", "brand", "price")
    rows = data.catalogue.select(columns).take(pa.array(indices, type=pa.int64())).to_pylist()
    return tuple(
        PopularEntry(score=float(scores[index]), available=True, **row)
        for index, row in zip(indices, rows, strict=True)
    )
