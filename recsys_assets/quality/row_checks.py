"""The table that the rules look at: delivered values in canonical types, and a true/false column for each row check.

No row is dropped here. A value that cannot be read becomes null, and its ``<column>_readable`` check is false.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import is_text, parse_numbers, parse_timestamps, valid_ids
from recsys_assets.lake import midnight
from recsys_assets.schema import CLOCK_SKEW, INTERACTIONS, TIMESTAMP
from recsys_assets.verdict import row_as_json

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]

NUMBERS = tuple(field.name for field in INTERACTIONS.schema if pa.types.is_floating(field.type))


@dataclass(frozen=True, slots=True)
class ValidationContext:
    """What a day is validated against.

    Attributes:
        users, products: ids in the canonical tables.
        ids_elsewhere: interaction ids of this day that another day already uses; it may hold other ids too.
        now: moment of validation, with time zone.
    """

    users: frozenset[str]
    products: frozenset[str]
    ids_elsewhere: frozenset[str]
    now: datetime


@dataclass(frozen=True, slots=True)
class Reading:
    """A delivered table with every value that could be read.

    Attributes:
        canonical: all canonical columns and types, row for row; null where absent, missing or unreadable.
        absent: required columns that the delivery does not have.
        given: column -> rows that hold something, whether readable or not (numbers and timestamp only).
        readable: column -> rows whose value was understood; meaningless where not ``given``.
    """

    canonical: pa.Table
    absent: tuple[str, ...]
    given: Mapping[str, Mask]
    readable: Mapping[str, Mask]


def read_interactions(table: pa.Table) -> Reading:
    """Read a delivered day into the canonical schema, value by value; columns it does not know are left out.

    Blank text and NaN count as missing, infinities are no numbers, and timestamps are what
    `recsys_assets.ingest.columns.parse_timestamps` says.
    """
    columns: list[pa.Array] = []
    given: dict[str, Mask] = {}
    readable: dict[str, Mask] = {}
    for field in INTERACTIONS.schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, type=field.type))
            given[field.name] = readable[field.name] = np.zeros(table.num_rows, dtype=bool)
            continue
        values = _plain(table[field.name])
        if pa.types.is_string(field.type):
            columns.append(_read_text(values))
            continue
        given[field.name] = _given(values)
        # What the sources would not read as a timestamp either becomes null.
        moments = field.type == TIMESTAMP
        read = parse_timestamps(pa.chunked_array([values])).combine_chunks() if moments else _read_numbers(values)
        readable[field.name] = ~_nulls(read)
        columns.append(read)
    absent = tuple(name for name in INTERACTIONS.required if name not in table.column_names)
    return Reading(pa.table(columns, schema=INTERACTIONS.schema), absent, given, readable)


def interactions_frame(day: date, table: pa.Table, context: ValidationContext) -> "pd.DataFrame":
    """The frame that the rules are applied to for one delivered day: canonical columns, and a column per row check.

    Row checks are nullable booleans named like their rule; null where the rule does not apply to the row. Checks of an
    absent column are left out, so their rules cannot pass by accident.
    """
    import pandas as pd

    reading = read_interactions(table)
    canonical = reading.canonical
    frame = {name: _to_pandas(canonical[name]) for name in canonical.column_names if name not in reading.absent}
    given, kind, ids = reading.given, canonical["interaction_type"], canonical["interaction_id"]
    facts = {  # fact -> column, rows where it holds, rows that it applies to
        **{f"{column}_readable": (column, reading.readable[column], given[column]) for column in NUMBERS},
        **_time_facts(day, reading, context.now),
        "rating_given": ("rating", given["rating"], _filled(pc.equal(kind, "rating"))),
        "interaction_id_unique": ("interaction_id", _may_keep_id(table, ids), ~_nulls(ids)),
        "interaction_id_new": ("interaction_id", ~_member(ids, context.ids_elsewhere), ~_nulls(ids)),
    }
    bought = _filled(pc.equal(kind, "purchase"))
    for column in ("price", "quantity"):
        carried = bought if given[column].any() else np.zeros_like(bought)
        facts[f"{column}_null_share"] = (column, given[column], carried)
    for column, known in (("user_id", context.users), ("product_id", context.products)):
        there = ~_nulls(canonical[column])
        facts[f"{column}_valid"] = (column, _filled(valid_ids(canonical[column])), there)
        facts[f"{column}_known"] = (column, _member(canonical[column], known), there)
    for fact, (column, holds, applies) in facts.items():
        if column not in reading.absent:
            frame[fact] = pd.Series(pd.arrays.BooleanArray(holds.copy(), ~applies))
    return pd.DataFrame(frame)


def table_frame(name: str, table: pa.Table, now: datetime) -> "pd.DataFrame":
    """The frame that the rules of products or users are applied to: canonical columns and row checks."""
    import pandas as pd

    frame = {column: _to_pandas(table[column]) for column in table.column_names if column != "join_date"}
    if name == "users":
        joined = table["join_date"]
        past = _filled(pc.less_equal(joined, pa.scalar(now.date())))
        frame["join_date_not_in_future"] = pd.Series(pd.arrays.BooleanArray(past, _nulls(joined)))
    return pd.DataFrame(frame)


def _time_facts(day: date, reading: Reading, now: datetime) -> dict[str, tuple[str, Mask, Mask]]:
    moments = reading.canonical["timestamp"]
    start = midnight(day)
    bounds = [pa.scalar(moment, type=TIMESTAMP) for moment in (start, start + timedelta(days=1), now + CLOCK_SKEW)]
    on_day = _filled(pc.and_(pc.greater_equal(moments, bounds[0]), pc.less(moments, bounds[1])))
    given, readable = reading.given["timestamp"], reading.readable["timestamp"]
    return {
        "timestamp_given": ("timestamp", given, np.ones_like(given)),
        "timestamp_readable": ("timestamp", readable, given),
        "timestamp_on_day": ("timestamp", on_day, readable),
        "timestamp_not_in_future": ("timestamp", _filled(pc.less_equal(moments, bounds[2])), readable),
    }


def _may_keep_id(table: pa.Table, ids: pa.ChunkedArray) -> Mask:
    """Rows whose id is accepted: the first of identical copies, and none of different rows with one id."""
    import pandas as pd

    series = pd.Series(ids.to_numpy(zero_copy_only=False), dtype=object)
    alone = ~series.duplicated(keep=False).to_numpy() | _nulls(ids)
    repeated = np.flatnonzero(~alone)
    if not len(repeated):
        return alone
    copies: dict[str, list[tuple[int, str]]] = {}
    for row, text in zip(repeated.tolist(), row_as_json(table, repeated.tolist()), strict=True):
        copies.setdefault(series[row], []).append((row, text))
    for group in copies.values():
        if len({text for _, text in group}) == 1:
            alone[group[0][0]] = True
    return alone


def _member(values: pa.ChunkedArray, known: frozenset[str]) -> Mask:
    """Whether each value is known; looks up each distinct value once."""
    encoded = values.combine_chunks().dictionary_encode()
    hits = np.fromiter((value in known for value in encoded.dictionary.to_pylist()), dtype=bool)
    if not len(hits):
        return np.zeros(len(values), dtype=bool)
    found: Mask = hits[pc.fill_null(encoded.indices, 0).to_numpy()]
    return found & ~_nulls(values)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One array, dictionary encoding undone."""
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return array


def _given(values: pa.Array) -> Mask:
    given = ~_nulls(values)
    if is_text(values.type):
        given &= _filled(pc.not_equal(pc.utf8_trim_whitespace(values.cast(pa.string())), ""))
    elif pa.types.is_floating(values.type):
        given &= ~_filled(pc.is_nan(values))
    return given


def _read_text(values: pa.Array) -> pa.Array:
    """As text; blank text and what has no plain text form (lists, structures) become null."""
    try:
        text = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(values), type=pa.string())
    blank = pc.equal(pc.utf8_trim_whitespace(text), "")
    return pc.if_else(blank, pa.scalar(None, type=pa.string()), text)


def _read_numbers(values: pa.Array) -> pa.Array:
    """As float64; what is no finite number becomes null."""
    kind = values.type
    if pa.types.is_null(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind):
        return pa.nulls(len(values), type=pa.float64())
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        numbers = values.cast(pa.float64(), safe=False)
    else:
        numbers = parse_numbers(pa.chunked_array([values])).combine_chunks()
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, type=pa.float64()))


def _nulls(values: pa.Array | pa.ChunkedArray) -> Mask:
    return np.asarray(pc.is_null(values))


def _filled(mask: pa.Array | pa.ChunkedArray) -> Mask:
    """A true/false array with null as false."""
    return np.asarray(pc.fill_null(mask, False), dtype=bool)


def _to_pandas(column: pa.ChunkedArray) -> "pd.Series[Any]":
    """Text as Python objects: pandas' own string type differs between its major versions, objects do not."""
    import pandas as pd

    if pa.types.is_string(column.type) or pa.types.is_boolean(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    if pa.types.is_integer(column.type):
        return pd.Series(column.cast(pa.float64()).to_numpy())
    return pd.Series(column.to_pandas())
