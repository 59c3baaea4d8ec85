"""Exposure of producers: the share of listed places that brands, categories and popularity bands get.

Two reference divisions stand beside it, because no single one is fair to all (Singh and Joachims, "Fairness of exposure
in rankings", KDD 2018): a group's share of the catalogue (demographic parity) and its share of earlier sales (exposure
in proportion to merit). The distance from a reference is the total variation distance, ``sum(|exposure - reference|) /
2``: the share of places that would have to move to other groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lambda_api.recommender.ids import IndexArray
from recsys_assets.measurement.beyond_accuracy import POPULARITY_BANDS, gini, popularity_bands
from recsys_assets.measurement.metrics import FloatArray
from recsys_assets.measurement.protocol import EvaluationTask

SHOWN_GROUPS = 5
"""Groups that a report names, those with the most sales; the rest are one."""
REST, UNKNOWN, POPULARITY = "(other)", "(unknown)", "popularity"


@dataclass(frozen=True)
class Providers:
    """One division of the products that may be listed.

    Attributes:
        dimension: ``brand``, ``category`` or ``popularity``.
        groups: names, in the order to show them.
        codes: int64 ``[n]``, each product's place in ``groups``; -1 where it may not be listed.
        sales: int64 ``[n]``, earlier sales.
    """

    dimension: str
    groups: tuple[str, ...]
    codes: NDArray[np.int64] = field(repr=False)
    sales: NDArray[np.int64] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProviderShare:
    """One group's shares of places, of the catalogue that may be listed and of earlier sales; all in [0, 1]."""

    group: str
    products: int
    exposure: float
    catalogue: float
    sales: float


@dataclass(frozen=True, slots=True)
class ProviderExposure:
    """How a recommender's places are spread over one division of the products.

    Attributes:
        dimension: see `Providers`.
        groups: how many there are.
        unexposed: how many of them are never listed.
        from_catalogue, from_sales: total variation distance of exposure from the share of the catalogue and of sales;
            ``None`` when nothing was listed (or sold).
        gini: of exposure over groups; ``None`` when nothing was listed, and for popularity, whose bands differ in size
            by design.
        shares: the groups with the most sales, and the rest as one.
    """

    dimension: str
    groups: int
    unexposed: int
    from_catalogue: float | None
    from_sales: float | None
    gini: float | None
    shares: tuple[ProviderShare, ...]


def providers_of(task: EvaluationTask, products: pa.Table | None) -> tuple[Providers, ...]:
    """Every division that the catalogue allows: brand and category where any product has one, popularity always.

    Args:
        products: canonical products; ids that the task does not know are skipped. A product without a value belongs to
            ``(unknown)``.
    """
    statistics, divisions = task.statistics, []
    for dimension in ("category", "brand"):
        if products is None or dimension not in products.column_names:
            continue
        labels: list[str | None] = [None] * len(statistics.events)
        places = task.products.indices(products["product_id"].to_pylist())
        for place, value in zip(places.tolist(), products[dimension].to_pylist(), strict=True):
            if place >= 0 and value is not None and value.strip():
                labels[place] = value
        if any(label is not None and statistics.candidates[place] for place, label in enumerate(labels)):
            divisions.append(_division(dimension, labels, statistics.candidates, statistics.sales))
    return (*divisions, _by_popularity(task))


def provider_exposure(recommended: IndexArray, providers: Providers) -> ProviderExposure:
    """Shares of the listed places, int32 ``[B, k]`` with ``-1`` for empty ones, that each group gets."""
    listed = np.bincount(recommended[recommended >= 0], minlength=len(providers.codes))
    inside = providers.codes >= 0
    codes, groups = providers.codes[inside], len(providers.groups)
    counts = [
        np.bincount(codes, weights=amounts[inside], minlength=groups).astype(np.float64)
        for amounts in (listed, np.ones(len(listed)), providers.sales)
    ]
    exposure, catalogue, sales = (_share(amounts) for amounts in counts)
    inequality = float("nan") if providers.dimension == POPULARITY else gini(exposure)
    return ProviderExposure(
        dimension=providers.dimension,
        groups=len(providers.groups),
        unexposed=int((exposure == 0).sum()),
        from_catalogue=distance(exposure, catalogue),
        from_sales=distance(exposure, sales),
        gini=None if np.isnan(inequality) else inequality,
        shares=_named(providers, exposure, catalogue, sales, counts[1]),
    )


def distance(a: FloatArray, b: FloatArray) -> float | None:
    """Total variation distance of two divisions into shares; ``None`` when one of them divides nothing."""
    if a.sum() == 0 or b.sum() == 0:
        return None
    return float(np.abs(a - b).sum() / 2)


def _division(
    dimension: str, labels: Sequence[str | None], candidates: NDArray[np.bool_], sales: NDArray[np.int64]
) -> Providers:
    names = [UNKNOWN if label is None else label for label in labels]
    groups = sorted({name for name, candidate in zip(names, candidates, strict=True) if candidate})
    number = {name: code for code, name in enumerate(groups)}
    codes = np.array([number.get(name, -1) for name in names], dtype=np.int64)
    return Providers(dimension, tuple(groups), np.where(candidates, codes, -1), sales)


def _by_popularity(task: EvaluationTask) -> Providers:
    """The `popularity_bands` as a division."""
    codes = np.full(len(task.statistics.events), -1, dtype=np.int64)
    for number, band in enumerate(popularity_bands(task.statistics)):
        codes[band] = number
    names = tuple(f"{100 * a:.0f}-{100 * b:.0f} %" for a, b in pairwise((0.0, *POPULARITY_BANDS)))
    return Providers(POPULARITY, names, codes, task.statistics.sales)


def _named(
    providers: Providers, exposure: FloatArray, catalogue: FloatArray, sales: FloatArray, products: FloatArray
) -> tuple[ProviderShare, ...]:
    every = np.arange(len(providers.groups))
    top = every if providers.dimension == POPULARITY else np.argsort(-sales, kind="stable")[:SHOWN_GROUPS]
    rest = np.setdiff1d(every, top)
    named = [(providers.groups[group], np.array([group])) for group in top.tolist()]
    if len(rest):
        named.append((f"{REST}: {len(rest)}", rest))
    return tuple(
        ProviderShare(
            name, int(products[of].sum()), *(float(shares[of].sum()) for shares in (exposure, catalogue, sales))
        )
        for name, of in named
    )


def _share(amounts: FloatArray) -> FloatArray:
    total = amounts.sum()
    return amounts / total if total > 0 else amounts
