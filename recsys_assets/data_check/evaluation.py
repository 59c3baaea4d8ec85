"""Whether a model can be evaluated on a log, and which windows would make it possible."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.interactions import INTERACTION_LABELS
from recsys_assets.schema import relevant_types
from recsys_assets.splits.temporal import PARTS, split_by_share

MIN_SHOPPERS: Final = 30
"""Shoppers that a test window needs: their events of the relevant type decide which model is better."""

SHARES: Final = ((0.075, 0.075), (0.1, 0.1), (0.1, 0.2), (0.15, 0.3))
"""(validation, test) shares of the interactions that are tried; the first is the default of the settings."""


def judge_evaluation(table: pa.Table) -> tuple[str, dict[str, str]]:
    """A sentence on whether a model can be evaluated, and the settings that it needs (none when the defaults do).

    Args:
        table: columns ``user_id``, ``interaction_type`` (text) and ``timestamp``; rows that lack one do not count.
    """
    needed = ("user_id", "product_id", "interaction_type", "timestamp")
    if not set(needed) <= set(table.column_names):
        return "no: the log lacks a column", {}
    events = table.select(needed).drop_null()
    events = events.filter(pc.is_in(events["interaction_type"], pa.array(INTERACTION_LABELS)))
    if not events.num_rows:
        return "no: no row has a user, a product, a known type and a time", {}
    (kind,) = relevant_types(events)
    fewest = 0
    for validation, test in SHARES:
        try:
            split = split_by_share(events["timestamp"], validation, test)
        except ValueError as error:
            return f"no: {error}", {}
        parts = pa.array(split.parts(events["timestamp"]))
        relevant = events.filter(pc.equal(events["interaction_type"], kind.label))
        where = parts.filter(pc.equal(events["interaction_type"], kind.label).combine_chunks())
        shoppers = [
            len(pc.unique(relevant.filter(pc.equal(where, PARTS.index(part)))["user_id"])) for part in PARTS[1:]
        ]
        if min(shoppers) >= MIN_SHOPPERS:
            window = (split.end - split.test_start).days
            sentence = (
                f"yes: {shoppers[1]:,} shoppers have a {kind.label} in the test window, the last {window} days from "
                f"{split.test_start:%Y-%m-%d}"
            )
            default = (validation, test) == SHARES[0]
            shares = {"RECSYS_VALIDATION_SHARE": f"{validation:g}", "RECSYS_TEST_SHARE": f"{test:g}"}
            return sentence, {} if default else shares
        fewest = max(fewest, min(shoppers))
    return (
        f"hardly: even a test window of {SHARES[-1][1]:.0%} of the events has only {fewest} shoppers with a "
        f"{kind.label}; {MIN_SHOPPERS} are needed for a verdict, so bring in a longer log",
        {},
    )
