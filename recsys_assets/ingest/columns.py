"""Types of single columns: numbers, timestamps and casts that leave a column alone when a value does not fit."""

from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.schema import TIMESTAMP, TableContract

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}){0,2}([.,]\d+)?)? ?(Z|z|[+-]\d{2}(:?\d{2})?)?$"
_UNIX_TIME = r"^\d{9,14}(\.\d+)?$"
_FIRST_UNIX_MILLIS = 1e11
_MICROS_PER_SECOND = 1e6
_MICROS_PER_MILLI = 1e3
_CALENDAR = tuple(
    pa.scalar(datetime.fromisoformat(text), TIMESTAMP)
    for text in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00")
)


def cast_where_clean(table: pa.Table, contract: TableContract) -> pa.Table:
    """The contract's columns that ``table`` has, in contract order, each with its canonical type where every value
    can be understood, and untouched where a single one cannot."""
    present = [field for field in contract.schema if field.name in table.column_names]
    return pa.table({field.name: _cast_column(table[field.name], field.type) for field in present})


def parse_timestamps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Timestamps as UTC microseconds; null where a value is none.

    Understood: ISO 8601 dates and times, with an offset or without (then UTC); unix seconds or milliseconds of nine
    digits or more, told apart at 1e11; Arrow timestamps and dates.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _utc_micros(column)
    if pa.types.is_date(kind):
        return pc.assume_timezone(column.cast(pa.timestamp("us")), "UTC")
    try:
        text = _trimmed(column.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _chunked(pa.nulls(len(column), TIMESTAMP))
    # Floats print as 1.3e+09; integers and text are matched as they are.
    if pa.types.is_floating(kind):
        return _unix_micros(column.cast(pa.float64()))
    number = _where(text, _UNIX_TIME).cast(pa.float64())
    iso = _where(text, _ISO_TIME)
    return pc.coalesce(_iso_micros(iso), _unix_micros(number)) if number.null_count < len(number) else _iso_micros(iso)


def parse_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as float64; null where a value is not a decimal number."""
    return _where(_trimmed(column.cast(pa.string())), _NUMBER).cast(pa.float64())


def occurrence_numbers(keys: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.int64]:
    """For each row, how many rows up to and including it have its key: 1 for a key's first row. Nulls are a key."""
    flat = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    codes = flat.dictionary_encode(null_encoding="encode").indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    positions = np.arange(len(codes))
    is_first = np.diff(codes[order], prepend=-1) != 0
    numbers = np.empty(len(codes), dtype=np.int64)
    numbers[order] = positions - np.maximum.accumulate(np.where(is_first, positions, 0)) + 1
    return numbers


def _cast_column(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    try:
        cast = _as_type(column, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return column
    return cast


def _as_type(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """``column`` as ``target``; raises ``pa.ArrowInvalid`` unless every value that is there has a meaning there."""
    if column.type == target and not pa.types.is_floating(target):
        return column
    if pa.types.is_timestamp(target) or pa.types.is_date(target):
        stamps = parse_timestamps(column)
        if stamps.null_count > column.null_count:
            raise pa.ArrowInvalid("a value is no timestamp")
        return stamps.cast(target)
    if pa.types.is_string(column.type) and not pa.types.is_string(target):
        column = _trimmed(column)
        if pa.types.is_integer(target):
            column = column.cast(pa.float64())
    return _without_nan(_without_nan(column).cast(target))


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """pandas and R write a missing number as NaN."""
    return pc.if_else(pc.is_nan(column), None, column) if pa.types.is_floating(column.type) else column


def _trimmed(text: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def _where(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _utc_micros(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Arrow timestamps of any unit and zone; those outside Python's calendar (years 1 to 9999) become null."""
    zoned = column if column.type.tz else pc.assume_timezone(column, "UTC")
    options = pc.CastOptions(TIMESTAMP, allow_time_truncate=True, allow_time_overflow=False)
    try:
        micros = pc.cast(zoned, options=options)
    except pa.ArrowInvalid:
        # One value beyond 64 bits of microseconds: the column is not understood, and stays as it is.
        return _chunked(pa.nulls(len(column), TIMESTAMP))
    in_calendar = pc.and_(pc.greater_equal(micros, _CALENDAR[0]), pc.less_equal(micros, _CALENDAR[1]))
    return pc.if_else(in_calendar, micros, None)


def _unix_micros(number: pa.ChunkedArray) -> pa.ChunkedArray:
    scale = pc.if_else(pc.less(number, _FIRST_UNIX_MILLIS), _MICROS_PER_SECOND, _MICROS_PER_MILLI)
    in_range = pc.and_(pc.greater_equal(number, 1e8), pc.less(number, 1e14))
    micros = pc.if_else(in_range, pc.round(pc.multiply(number, scale)), None)
    return micros.cast(pa.int64()).cast(TIMESTAMP)


def _iso_micros(text: pa.ChunkedArray) -> pa.ChunkedArray:
    import pandas as pd

    parsed = pd.to_datetime(text.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    return _chunked(pa.Array.from_pandas(parsed).cast(TIMESTAMP, safe=False))


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
