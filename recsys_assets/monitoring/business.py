"""Business figures of what was served, per variant: clicks, conversion and revenue per shopper, intervals over
shoppers.

One row per day, variant and shopper is kept in the lake table `TABLE`. Lists that no model answered, and visitors
without an id, are left out: they do not depend on the variant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from lambda_api.state.exposures import Exposure, join_feedback
from recsys_assets.evaluation.feedback import shown
from recsys_assets.event_stream import event_of, exposure_of, read_records
from recsys_assets.lake import Lake
from recsys_assets.measurement.bootstrap import Interval, mean_interval, ratio_interval

TABLE: Final = "business_daily"
WINDOW_DAYS: Final = 28
MIN_SHOPPERS: Final = 100
MAX_SHARE: Final = 0.01
"""Maximum weight of one shopper, as a share of all shown products: a robot is capped, and the report says so."""

SCHEMA = pa.schema(
    [
        pa.field("variant", pa.string()),
        pa.field("version", pa.string()),
        pa.field("user_id", pa.string()),
        pa.field("shown", pa.int64()),
        pa.field("clicks", pa.float64()),
        pa.field("purchases", pa.float64()),
        pa.field("revenue", pa.float64()),
    ]
)


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


def update_day(lake: Lake, root: str, day: date) -> int:
    """Compute one day from the event stream, replacing an earlier result; returns the rows (0: nothing was served).

    Events of the day after count too: the attribution window is a day. So yesterday is computed again every day.

    Args:
        root: of the event stream's folders (`recsys_assets.event_stream.events_root`).
    """
    lists = [one for one in map(exposure_of, read_records(root, "exposure", day, day)) if one and _counts(one, day)]
    if not lists:
        return 0
    events = (event_of(record) for record in read_records(root, "feedback", day, day + timedelta(days=1)))
    table = totals(lists, [one for one in events if one is not None])
    lake.write_day(TABLE, day, table)
    return table.num_rows


def totals(lists: Iterable[Exposure], events: Iterable[object]) -> pa.Table:
    """Totals per variant and shopper (`SCHEMA`) of lists and the feedback on them."""
    joined = join_feedback(lists, events)  # type: ignore[arg-type]
    log = shown(joined)
    rows: dict[tuple[str, str, str], list[float]] = {}
    for place, one in enumerate(joined):
        exposure = one.exposure
        total = rows.setdefault((exposure.variant, exposure.model_version, exposure.user_id), [0, 0.0, 0.0, 0.0])
        total[0] += 1
        for column, measure in enumerate(("click_through", "conversion", "revenue"), start=1):
            total[column] += float(log.rewards[measure][place])  # type: ignore[index]
    columns = [[*key, int(total[0]), *total[1:]] for key, total in sorted(rows.items())]
    return pa.table([pa.array(list(column)) for column in zip(*columns, strict=True)], schema=SCHEMA)


def variant_figures(lake: Lake, day: date, *, seed: int = 0) -> tuple[tuple[VariantFigures, ...], int]:
    """Every variant of the last `WINDOW_DAYS` with `MIN_SHOPPERS`, and how many shoppers were capped."""
    days = [one for one in lake.days(TABLE) if day - timedelta(days=WINDOW_DAYS) < one <= day]
    if not days:
        return (), 0
    table = pa.concat_tables(lake.read(TABLE, start=one, end=one + timedelta(days=1)) for one in days)
    figures, capped = [], 0
    for variant in sorted(set(table["variant"].to_pylist())):
        own = table.filter(pa.compute.equal(table["variant"], variant))
        _, place = np.unique(own["user_id"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
        sums = [
            np.bincount(place, weights=own[name].to_numpy().astype(np.float64))
            for name in ("shown", "clicks", "purchases", "revenue")
        ]
        limit = max(MAX_SHARE * sums[0].sum(), float(np.median(sums[0])))
        factor = np.minimum(1.0, limit / np.maximum(sums[0], 1.0))
        capped += int((factor < 1).sum())
        shown_sum, clicks, purchases, revenue = (one * factor for one in sums)
        if len(shown_sum) < MIN_SHOPPERS:
            continue
        rate = ratio_interval(clicks, shown_sum, seed=seed)
        means = [mean_interval(one, seed=seed) for one in (purchases, revenue)]
        assert rate is not None and means[0] is not None and means[1] is not None  # shoppers were shown something
        figures.append(VariantFigures(variant, len(shown_sum), int(sums[0].sum()), rate, means[0], means[1]))
    return tuple(figures), capped


def _counts(one: Exposure, day: date) -> bool:
    start = datetime.combine(day, time(), UTC).timestamp() * 1000
    is_model = one.list_kind == "recommend" and one.model_version != "baseline"
    return bool(one.user_id) and is_model and start <= one.at_ms < start + 86_400_000
