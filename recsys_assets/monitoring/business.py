"""Business figures of what was served, per variant: clicks, conversion and revenue per shopper, intervals over
shoppers.

They are read from ``list_outcomes``, which is made again when feedback arrives late. Lists that no model answered, and
visitors without an id, are left out: they do not depend on the variant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.lake import Lake
from recsys_assets.measurement.bootstrap import FloatArray, Interval, ratio_interval

TABLE: Final = "list_outcomes"
WINDOW_DAYS: Final = 28
MIN_SHOPPERS: Final = 100
MAX_SHARE: Final = 0.01
"""Maximum weight of one shopper, as a share of all shown products: a robot is capped, and the report says so."""

MAX_MEDIANS: Final = 10
"""Shown products, in medians over shoppers, up to which nobody is capped: in a small shop many people have 1 %."""

MAX_UNITS: Final = 10_000
"""Units that are resampled for an interval."""

_COLUMNS: Final = ("variant", "user_id", "list_kind", "model_version", "views", "carts", "purchases", "revenue")
_SUMS: Final = ("shown", "clicks", "bought", "revenue")


@dataclass(frozen=True, slots=True)
class VariantFigures:
    """Figures of one variant over `WINDOW_DAYS`.

    Attributes:
        shoppers, lists_shown: who saw its lists, and shown products.
        click_through: clicked share of shown products.
        conversion: bought products per shopper.
        revenue: money per shopper.
    """

    variant: str
    shoppers: int
    lists_shown: int
    click_through: Interval
    conversion: Interval
    revenue: Interval


def variant_figures(lake: Lake, day: date, *, seed: int = 0) -> tuple[tuple[VariantFigures, ...], int]:
    """Every variant of the last `WINDOW_DAYS` with `MIN_SHOPPERS`, and how many shoppers were capped."""
    days = [one for one in lake.days(TABLE) if day - timedelta(days=WINDOW_DAYS) < one <= day]
    if not days:
        return (), 0
    # Summed day by day: four weeks of lists need not fit into memory.
    parts = [totals(lake.read_day(TABLE, one, _COLUMNS)) for one in days]
    summed = pa.concat_tables(parts).group_by(["variant", "user_id"]).aggregate([(name, "sum") for name in _SUMS])
    figures, capped = [], 0
    for variant in sorted(set(pc.unique(summed["variant"]).to_pylist())):
        own = summed.filter(pc.equal(summed["variant"], variant))
        sums = [own[f"{name}_sum"].to_numpy().astype(np.float64) for name in _SUMS]
        limit = max(MAX_SHARE * sums[0].sum(), MAX_MEDIANS * float(np.median(sums[0])))
        factor = np.minimum(1.0, limit / np.maximum(sums[0], 1.0))
        capped += int((factor < 1).sum())
        shoppers = len(factor)
        if shoppers < MIN_SHOPPERS:
            continue
        counts, shown, clicks, bought, revenue = in_groups([np.ones(shoppers), *(one * factor for one in sums)], seed)
        rate = ratio_interval(clicks, shown, seed=seed)
        means = [ratio_interval(one, counts, seed=seed) for one in (bought, revenue)]
        assert rate is not None and means[0] is not None and means[1] is not None  # shoppers were shown something
        figures.append(VariantFigures(variant, shoppers, int(sums[0].sum()), rate, means[0], means[1]))
    return tuple(figures), capped


def in_groups(columns: Sequence[FloatArray], seed: int) -> list[FloatArray]:
    """Sums of ``columns`` (float64 ``[n]``) over at most `MAX_UNITS` random groups of shoppers of equal size.

    Resampling groups of shoppers gives the same intervals as resampling shoppers, in a time that does not grow.
    """
    n = len(columns[0])
    if n <= MAX_UNITS:
        return list(columns)
    group = np.random.default_rng(seed).permutation(n) % MAX_UNITS
    return [np.bincount(group, weights=one, minlength=MAX_UNITS).astype(np.float64) for one in columns]


def totals(outcomes: pa.Table) -> pa.Table:
    """Sums per variant and shopper of rows of ``list_outcomes``: columns ``variant``, ``user_id`` and `_SUMS`.

    A shown product is clicked when anything followed, and bought when a purchase did, however often.
    """
    named = pc.greater(pc.utf8_length(outcomes["user_id"]), 0)
    by_model = pc.and_(
        pc.equal(outcomes["list_kind"], "recommend"), pc.not_equal(outcomes["model_version"], "baseline")
    )
    own = outcomes.filter(pc.and_(named, by_model))
    bought = pc.greater(own["purchases"], 0)
    clicked = pc.or_(bought, pc.greater(pc.add(own["views"], own["carts"]), 0))
    columns = [own["variant"], own["user_id"], clicked.cast(pa.int64()), bought.cast(pa.int64()), own["revenue"]]
    rows = pa.table(columns, names=["variant", "user_id", "clicks", "bought", "revenue"])
    sums = rows.group_by(["variant", "user_id"]).aggregate(
        [([], "count_all"), ("clicks", "sum"), ("bought", "sum"), ("revenue", "sum")]
    )
    names = {"count_all": "shown", "clicks_sum": "clicks", "bought_sum": "bought", "revenue_sum": "revenue"}
    return sums.rename_columns([names.get(name, name) for name in sums.column_names])
