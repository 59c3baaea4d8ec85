"""Validates days that are in the lake: reads them and their context, and stores the verdicts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.data_gate import delivery_checksum, record_verdict
from recsys_assets.lake import Lake
from recsys_assets.quality.row_checks import ValidationContext
from recsys_assets.quality.validation import validate_days
from recsys_assets.verdict import Verdict


def validate_stored_days(lake: Lake, days: Sequence[date], now: datetime) -> Iterator[Verdict]:
    """Validate stored days of ``raw_interactions``; record each verdict, then yield it.

    Days without a raw file are skipped. Verdicts come in no particular order.

    Raises:
        LakeError: products or users are not in the lake.
    """
    held = [day for day in lake.days("raw_interactions") if day in set(days)]
    checksums = {day: delivery_checksum(lake, day) for day in held}
    contexts = validation_contexts(lake, held, now)
    deliveries = ((day, read_raw_day(lake, day), contexts[day]) for day in held)
    for verdict in validate_days(deliveries):
        assert isinstance(verdict.subject, date)
        record_verdict(lake, verdict, checksums[verdict.subject])
        yield verdict


def read_raw_day(lake: Lake, day: date) -> pa.Table:
    """One stored day of ``raw_interactions``, as delivered."""
    return lake.read_day("raw_interactions", day)


def validation_contexts(lake: Lake, days: Sequence[date], now: datetime) -> dict[date, ValidationContext]:
    """The context of each day: known users and products, and ids that another day already uses."""
    common = ValidationContext(
        users=frozenset(lake.read("users", columns=["user_id"])["user_id"].to_pylist()),
        products=frozenset(lake.read("products", columns=["product_id"])["product_id"].to_pylist()),
        ids_elsewhere=frozenset(),
        now=now,
    )
    elsewhere = ids_elsewhere(lake, days)
    return {day: replace(common, ids_elsewhere=elsewhere.get(day, frozenset())) for day in days}


def ids_elsewhere(lake: Lake, days: Sequence[date]) -> dict[date, frozenset[str]]:
    """For each of ``days``, those of its interaction ids that belong to another day; days without any are left out.

    An id belongs to the validated day outside ``days`` that holds it, else to the earliest of ``days`` that has it.
    """
    ordered = sorted(days)
    parts = [_ids_of(lake, "raw_interactions", day) for day in ordered]
    if not any(len(part) for part in parts):
        return {}
    ids = pa.concat_arrays(parts)
    position = np.repeat(np.arange(len(ordered)), [len(part) for part in parts])
    encoded = ids.dictionary_encode()
    codes = encoded.indices.to_numpy()
    owner = np.full(len(encoded.dictionary), len(ordered))
    np.minimum.at(owner, codes, position)
    for day in lake.days("interactions"):
        if day not in set(ordered):
            taken = pc.is_in(encoded.dictionary, value_set=_ids_of(lake, "interactions", day))
            owner[taken.to_numpy(zero_copy_only=False)] = -1
    foreign = owner[codes] != position
    found: dict[date, frozenset[str]] = {}
    for index in np.unique(position[foreign]).tolist():
        mask = foreign & (position == index)
        found[ordered[index]] = frozenset(ids.filter(pa.array(mask)).to_pylist())
    return found


def _ids_of(lake: Lake, table: str, day: date) -> pa.Array:
    """Interaction ids of one stored day as text, without nulls; empty when the delivery has no such column."""
    schema = lake.day_schema(table, day)
    if "interaction_id" not in schema.names or pa.types.is_nested(schema.field("interaction_id").type):
        return pa.array([], type=pa.string())
    rows = lake.read_day(table, day, ("interaction_id",))
    return rows["interaction_id"].combine_chunks().cast(pa.string()).drop_null()
