"""Whether a model can be evaluated on a log, and which windows would make it possible."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import INTERACTION_LABELS
from lambda_api.settings import Settings
from recsys_assets.schema import relevant_types
from recsys_assets.splits.choice import choose_split
from recsys_assets.splits.temporal import PARTS, TemporalSplit

MIN_SHOPPERS: Final = 30
"""Shoppers that a test window needs before a model can become champion (`recsys_assets.promotion.decision`)."""

LONGER_WINDOWS: Final = (
    {"validation_days": 7, "test_days": 14, "validation_share": 0.1, "test_share": 0.2},
    {"validation_days": 14, "test_days": 28, "validation_share": 0.15, "test_share": 0.3},
    {"validation_days": 28, "test_days": 56, "validation_share": 0.2, "test_share": 0.4},
)
"""Settings of windows that are tried, shortest first, when those of the shop are too short."""


def judge_evaluation(table: pa.Table, settings: Settings) -> tuple[str, dict[str, str]]:
    """A sentence on whether a model can be evaluated, and the environment variables that it needs (often none).

    Args:
        table: columns ``user_id``, ``product_id``, ``interaction_type``, ``timestamp``; incomplete rows do not count.
        settings: of the shop; its windows are tried first.
    """
    needed = ("user_id", "product_id", "interaction_type", "timestamp")
    if not set(needed) <= set(table.column_names):
        return "no: the log lacks a column", {}
    events = table.select(needed).drop_null()
    events = events.filter(pc.is_in(events["interaction_type"], pa.array(INTERACTION_LABELS)))
    if not events.num_rows:
        return "no: no row has a user, a product, a known type and a time", {}
    (kind,) = relevant_types(events)
    relevant = events.filter(pc.equal(events["interaction_type"], kind.label))
    new = "" if settings.allow_repeats else " of a product that is new to them"
    fewest = 0
    for change in ({}, *LONGER_WINDOWS):
        try:
            split = choose_split(events["timestamp"], settings.model_copy(update=change))
        except ValueError as error:
            if not change:
                return f"no: {error}", {}
            continue
        shoppers = _test_shoppers(events, relevant, split, repeats=settings.allow_repeats)
        if shoppers >= MIN_SHOPPERS:
            sentence = (
                f"yes: {shoppers:,} known shoppers have a {kind.label}{new} in the test window, the last "
                f"{(split.end - split.test_start).days} days from {split.test_start:%Y-%m-%d}"
            )
            return sentence, {f"RECSYS_{name.upper()}": f"{value:g}" for name, value in change.items()}
        fewest = max(fewest, shoppers)
    return (
        f"hardly: even the longest test window has only {fewest} known shoppers with a {kind.label}{new}; "
        f"{MIN_SHOPPERS} are needed for a verdict, so bring in a longer log",
        {},
    )


def _test_shoppers(events: pa.Table, relevant: pa.Table, split: TemporalSplit, *, repeats: bool) -> int:
    """Shoppers with an event before the test window and a relevant one in it (of a new product without ``repeats``)."""
    before = np.isin(split.parts(events["timestamp"]), (PARTS.index("train"), PARTS.index("validation")))
    known = pc.unique(events["user_id"].filter(pa.array(before)))
    counted = relevant
    if not repeats:
        first = relevant.group_by(["user_id", "product_id"]).aggregate([("timestamp", "min")])
        counted = first.rename_columns({"timestamp_min": "timestamp"})
    tested = counted.filter(pa.array(split.parts(counted["timestamp"]) == PARTS.index("test")))
    return int(pc.sum(pc.is_in(pc.unique(tested["user_id"]), known)).as_py() or 0)
