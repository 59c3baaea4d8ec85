"""The twin: would a retraining help? One cheap recipe, fitted where the champion's data end and fitted a week ago.

Both are asked about the last week, paired per shopper. The difference is what seven-day-old data gain over data as old
as the champion's, whatever the champion's own recipe. Prices that rise, or a season, change conversions and not this.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.lake import Lake, midnight
from recsys_assets.measurement.bootstrap import PairedComparison, paired_comparison
from recsys_assets.measurement.protocol import EvaluationWindow, build_task, evaluate
from recsys_assets.models.dataset import TrainingData
from recsys_assets.models.item_knn import ItemKnn
from recsys_assets.monitoring.samples import events_of_active_shoppers
from recsys_assets.schema import relevant_types

HISTORY_DAYS: Final = 180
MIN_LIFT: Final = 0.3
"""Two to four weeks of ordinary ageing cost 7 to 12 % on the synthetic shop, in some small shops 28 %; the floor of
`retraining` answers that."""

MIN_SHOPPERS: Final = 100
MAX_SHOPPERS: Final = 1_000
"""Active shoppers per day whose events are used."""

CONFIDENCE: Final = 0.99
"""Above 95 %, because the same question is asked again every day."""


@dataclass(frozen=True, slots=True)
class TwinResult:
    """Fresh minus old hit rate.

    Attributes:
        lift: relative to the old one's; ``None`` where that is 0.
        alarm: the lift is above `MIN_LIFT` and the interval above 0.
    """

    comparison: PairedComparison
    lift: float | None
    alarm: bool


def twin_of(lake: Lake, day: date, champion_end: datetime, k: int) -> TwinResult | None:
    """Compare on the seven days that end with ``day``.

    ``None``: the champion's data end less than seven days before that week (nothing to gain yet), or too few shoppers.

    Args:
        champion_end: aware, UTC; where the champion's training data end.
    """
    end = midnight(day + timedelta(days=1))
    start = end - timedelta(days=7)
    if start - champion_end < timedelta(days=7):
        return None
    days = (start - champion_end).days + HISTORY_DAYS
    log, _ = events_of_active_shoppers(lake, start.date(), day, days, MAX_SHOPPERS)
    return compare_twins(log, lake.read("products"), champion_end, start, end, k)


def compare_twins(
    log: pa.Table, products: pa.Table, champion_end: datetime, start: datetime, end: datetime, k: int
) -> TwinResult | None:
    """Fitted before ``champion_end`` and before ``start``, both asked about ``start`` to ``end``.

    ``None`` with too few shoppers.
    """
    try:
        task = build_task(log, products, EvaluationWindow(start, end, relevant_types(log)))
    except ValueError:  # nobody with a history bought something new
        return None
    if len(task) < MIN_SHOPPERS:
        return None
    rates = []
    for moment in (champion_end, start):
        past = log.filter(pc.less(log["timestamp"], pa.scalar(moment, log["timestamp"].type)))
        model = ItemKnn().fit(TrainingData.from_tables(past, products, moment))
        rates.append(evaluate("twin", model, task, k).metrics["hit_rate"])
    old, fresh = rates
    return judge_twin(paired_comparison(fresh, old, confidence=CONFIDENCE), float(old.mean()))


def judge_twin(comparison: PairedComparison, old_rate: float) -> TwinResult:
    """The verdict on a paired comparison, fresh minus old."""
    lift = comparison.difference / old_rate if old_rate > 0 else None
    return TwinResult(comparison, lift, comparison.low > 0 and (lift is None or lift > MIN_LIFT))
