"""Types of single columns: ids, numbers, timestamps, and casts that leave a column alone when a value does not fit."""

from contextlib import suppress
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lambda_api.errors import RecsysError
from lambda_api.ids_rule import ID_PATTERN, MAX_ID_LENGTH
from recsys_assets.schema import TIMESTAMP, TableContract

MISSING_TEXTS: Final = (
    "", "null", "nan", "none", "undefined", "\\n", "n/a", "#n/a", "<na>", "(null)", "(not set)", "nat",
)  # fmt: skip
"""Texts that exports write for a missing value, in lower case."""

TRUE_TEXTS: Final = (
    "true", "t", "yes", "y", "1", "in stock", "instock", "in_stock", "active", "enabled", "ja", "oui", "si",
)  # fmt: skip
FALSE_TEXTS: Final = (
    "false", "f", "no", "n", "0", "out of stock", "outofstock", "out_of_stock", "inactive", "disabled", "nein", "non",
)  # fmt: skip

_CURRENCY = r"(?:[A-Z]{3}|\p{Sc}|[A-Z]{1,2}\$|kr\.?|zł)"
_DIGITS = r"[+-]?[0-9.,'\s\x{a0}\x{202f}]*[0-9][.,]?(?:[eE][+-]?[0-9]+)?"
_AMOUNT = rf"^\s*([+-]?)\s*{_CURRENCY}?\s*({_DIGITS})\s*{_CURRENCY}?\s*$"
_DOT_NUMBER = r"^[+-]?([0-9]+|[0-9]{1,3}([,'\s\x{a0}\x{202f}][0-9]{3})+|)(\.[0-9]*)?([eE][+-]?[0-9]+)?$"
_COMMA_NUMBER = r"^[+-]?([0-9]+|[0-9]{1,3}([.'\s\x{a0}\x{202f}][0-9]{3})+|)(,[0-9]*)?$"
_WHOLE_FLOAT = r"^-?[0-9]+(\.0+)?$"
_ROUNDED_ID = r"^[0-9]\.[0-9]+[eE]\+?[0-9]{2,}$"
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:?\d{2}){0,2}([.,]\d+)?)? ?(Z|z|[+-]\d{2}(:?\d{2})?)?$"
_UNIX_TIME = r"^\d{9,19}(\.\d+)?$"
_SLASHED_DATE = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})\b"
_MONTH_NAME = r"(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*\b\d{4}\b|\b\d{4}\b.*\b(jan|feb|mar)"
_HALF_DAY = r"(?i)\s*([ap])\.?m\.?$"
_UNIX_UNITS = ((1e8, 1e11, 1e6), (1e11, 1e14, 1e3), (1e14, 1e17, 1.0), (1e17, 1e19, 1e-3))
"""(from, below, microseconds per unit) of unix seconds, milliseconds, microseconds and nanoseconds."""
_CALENDAR = tuple(
    pa.scalar(datetime.fromisoformat(text), TIMESTAMP)
    for text in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00")
)


class UnusableIds(RecsysError, ValueError):
    """Ids whose digits are lost. ``row`` is the first such row, counted from 0."""

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def cast_where_clean(table: pa.Table, contract: TableContract) -> pa.Table:
    """The contract's columns that ``table`` has, in contract order. A column gets its canonical type when every value
    fits; otherwise it stays as it is."""
    present = [field for field in contract.schema if field.name in table.column_names]
    return pa.table({field.name: _cast_column(table[field.name], field.type) for field in present})


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def read_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without surrounding white space; `MISSING_TEXTS` and values without a text form become null."""
    try:
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _chunked(pa.nulls(len(column), pa.string()))
    return pc.if_else(pc.is_in(pc.utf8_lower(text), pa.array(MISSING_TEXTS)), None, text)


def read_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as text, see `read_text`. Ids that became floats (4006381333931.0) are whole numbers again.

    Raises:
        UnusableIds: ids that a program rounded, such as 12.5 in a column of floats, or 4.00638E+12.
    """
    column = _chunked(column.combine_chunks().dictionary_decode()) if pa.types.is_dictionary(column.type) else column
    if pa.types.is_floating(column.type):
        numbers = column.cast(pa.float64()).to_numpy()
        given = np.isfinite(numbers)
        lost = given & ((numbers != np.round(numbers)) | (np.abs(numbers) >= 2**53))
        if lost.any():
            row = int(np.flatnonzero(lost)[0])
            raise UnusableIds(
                f"the ids are floating-point numbers and {float(numbers[row])!r} is not a whole number", row
            )
        whole = pa.array(np.where(given, numbers, 0).astype(np.int64), mask=~given)
        return _chunked(whole.cast(pa.string()))
    text = read_text(column)
    if not is_text(column.type):
        return text
    rounded = pc.fill_null(pc.match_substring_regex(text, _ROUNDED_ID), False)
    if (pc.sum(rounded).as_py() or 0) * 2 > len(text) - text.null_count:
        row = pc.index(rounded, True).as_py()
        raise UnusableIds(f"a spreadsheet rounded the ids: {text[row].as_py()!r} has lost digits", row)
    if pc.any(pc.ends_with(text, ".0")).as_py() and pc.all(pc.match_substring_regex(text, _WHOLE_FLOAT)).as_py():
        text = pc.replace_substring_regex(text, r"\.0+$", "")
    return text


def valid_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each id is one that the API accepts (`lambda_api.ids_rule`); null for a missing id."""
    return pc.and_(pc.match_substring_regex(ids, ID_PATTERN), pc.less_equal(pc.utf8_length(ids), MAX_ID_LENGTH))


def parse_timestamps(
    column: pa.ChunkedArray, *, day_first: bool | None = None, timezone: str = "UTC"
) -> pa.ChunkedArray:
    """Timestamps as UTC microseconds; null where a value is none.

    Understood: ISO 8601 dates and times, with an offset, with `` UTC``, or without a zone; unix seconds, milliseconds,
    microseconds or nanoseconds; dates with month names; Arrow timestamps and dates; and, when ``day_first`` is given,
    dates such as 31/12/2024 or 12/31/2024, with a 12-hour or 24-hour time.

    Args:
        day_first: whether 05/06/2024 is 5 June. ``None``: such dates are not understood.
        timezone: zone of times without one.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _utc_micros(column, timezone)
    if pa.types.is_date(kind):
        return pc.assume_timezone(column.cast(pa.timestamp("us")), timezone).cast(TIMESTAMP)
    if pa.types.is_floating(kind):  # Floats print as 1.3e+09.
        return _unix_micros(column.cast(pa.float64()))
    if pa.types.is_string(kind):
        with suppress(pa.ArrowInvalid):  # fast where every value is ISO 8601 with a zone
            return _utc_micros(column.cast(TIMESTAMP), timezone)
    text = read_text(column)
    number = _where(text, _UNIX_TIME).cast(pa.float64())
    rest = pc.if_else(pc.is_valid(number), None, text)
    found = _unix_micros(number) if number.null_count < len(number) else _chunked(pa.nulls(len(text), TIMESTAMP))
    if rest.null_count == len(rest):
        return found
    rest = pc.replace_substring_regex(rest, r"(?i)( [+-]\d{4}) (UTC|GMT|[A-Z]{3,4})$", r"\1")  # as Go prints times
    rest = pc.replace_substring_regex(rest, r"(?i) ?(UTC|GMT)$", "Z")
    iso = _where(rest, _ISO_TIME)
    found = pc.coalesce(found, _iso_micros(iso, timezone))
    other = pc.if_else(pc.is_valid(iso), None, rest)
    if other.null_count < len(other):
        found = pc.coalesce(found, _other_micros(other, day_first, timezone))
    return found


def parse_numbers(column: pa.ChunkedArray, decimal: str = ".") -> pa.ChunkedArray:
    """Numbers as float64; null where a value is not a decimal number.

    A currency sign or code, spaces and thousands separators are removed: ``€1,299.50`` is 1299.5. With ``decimal=","``,
    ``1.299,50`` is 1299.5.
    """
    return plain_numbers(column, decimal).cast(pa.float64())


def plain_numbers(column: pa.ChunkedArray, decimal: str = ".") -> pa.ChunkedArray:
    """Text such as 1299.50 for every value that `parse_numbers` understands; null for the others."""
    text = read_text(column)
    if decimal == "." and pc.all(pc.match_substring_regex(text, r"^-?[0-9]+(\.[0-9]+)?$")).as_py():
        return text
    text = pc.replace_substring_regex(text, _AMOUNT, r"\1\2")
    text = _where(text, _COMMA_NUMBER if decimal == "," else _DOT_NUMBER)
    text = pc.replace_substring_regex(text, r"[\s'\x{a0}\x{202f}]", "")
    if decimal == ",":
        text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
    else:
        text = pc.replace_substring(text, ",", "")
    return _where(text, "[0-9]")


def parse_booleans(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """True and false from `TRUE_TEXTS` and `FALSE_TEXTS`, in any case; null for any other value."""
    if pa.types.is_boolean(column.type):
        return column
    text = pc.utf8_lower(read_ids(column))
    true, false = (pc.is_in(text, pa.array(texts)) for texts in (TRUE_TEXTS, FALSE_TEXTS))
    return pc.if_else(true, True, pc.if_else(false, False, pa.scalar(None, pa.bool_())))


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
        return _as_type(column, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnusableIds):
        return column


def _as_type(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """``column`` as ``target``; raises ``pa.ArrowInvalid`` unless every value that is there has a meaning there."""
    if column.type == target and not pa.types.is_floating(target):
        return column
    if pa.types.is_timestamp(target) or pa.types.is_date(target):
        parsed = parse_timestamps(column)
    elif pa.types.is_boolean(target):
        parsed = parse_booleans(column)
    elif pa.types.is_string(target):
        return read_ids(column)
    elif is_text(column.type):
        parsed = parse_numbers(column)
        if pa.types.is_floating(target) and pc.all(pc.is_finite(parsed)).as_py() is False:
            raise pa.ArrowInvalid("a number is not finite")
    else:
        return _without_nan(_without_nan(column).cast(target))
    if parsed.null_count > (read_text(column) if is_text(column.type) else column).null_count:
        raise pa.ArrowInvalid("a value does not fit")
    return parsed.cast(target)


def _without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """pandas and R write a missing number as NaN."""
    return pc.if_else(pc.is_nan(column), None, column) if pa.types.is_floating(column.type) else column


def _where(text: pa.ChunkedArray, pattern: str) -> pa.ChunkedArray:
    return pc.if_else(pc.match_substring_regex(text, pattern), text, None)


def _utc_micros(column: pa.ChunkedArray, timezone: str) -> pa.ChunkedArray:
    """Arrow timestamps of any unit and zone; those outside Python's calendar (years 1 to 9999) become null."""
    zoned = column if column.type.tz else pc.assume_timezone(column, timezone, ambiguous="latest", nonexistent="latest")
    options = pc.CastOptions(TIMESTAMP, allow_time_truncate=True, allow_time_overflow=False)
    try:
        micros = pc.cast(zoned, options=options)
    except pa.ArrowInvalid:
        # One value beyond 64 bits of microseconds: the column is not understood, and stays as it is.
        return _chunked(pa.nulls(len(column), TIMESTAMP))
    in_calendar = pc.and_(pc.greater_equal(micros, _CALENDAR[0]), pc.less_equal(micros, _CALENDAR[1]))
    return pc.if_else(in_calendar, micros, None)


def _unix_micros(number: pa.ChunkedArray) -> pa.ChunkedArray:
    micros: pa.ChunkedArray = _chunked(pa.nulls(len(number), pa.float64()))
    for low, high, scale in _UNIX_UNITS:
        in_range = pc.and_(pc.greater_equal(number, low), pc.less(number, high))
        micros = pc.if_else(pc.fill_null(in_range, False), pc.round(pc.multiply(number, scale)), micros)
    return micros.cast(pa.int64()).cast(TIMESTAMP)


def _iso_micros(text: pa.ChunkedArray, timezone: str) -> pa.ChunkedArray:
    """ISO 8601 texts; see `parse_timestamps`."""
    if timezone != "UTC":
        zoned = pc.match_substring_regex(text, r"(Z|z|:\d{2} ?[+-]\d{2}(:?\d{2})?|\d{2} [+-]\d{2}(:?\d{2})?)$")
        local = _iso_micros(pc.if_else(zoned, None, text), "UTC")
        local = _utc_micros(local.cast(pa.timestamp("us")), timezone)
        return pc.coalesce(_iso_micros(pc.if_else(zoned, text, None), "UTC"), local)
    import pandas as pd

    parsed = pd.to_datetime(text.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    return _chunked(pa.Array.from_pandas(parsed).cast(TIMESTAMP, safe=False))


def _other_micros(text: pa.ChunkedArray, day_first: bool | None, timezone: str) -> pa.ChunkedArray:
    """Dates with slashes or month names; each different text is parsed once."""
    import pandas as pd

    encoded = text.combine_chunks().dictionary_encode()
    texts = _chunked(encoded.dictionary)
    half = pc.struct_field(pc.extract_regex(texts, r"(?i)\s(?P<half>[ap])\.?m\.?$"), "half")
    plain = pc.replace_substring_regex(texts, _HALF_DAY, "")
    order = r"\3-\2-\1" if day_first else r"\3-\1-\2"
    # 31.12.2024 is day first everywhere; 31/12/2024 depends on the country.
    order_of_dots = r"^(\d{1,2})\.(\d{1,2})\.(\d{4})\b"
    iso = pc.replace_substring_regex(plain, order_of_dots, r"\3-\2-\1")
    if day_first is not None:
        iso = pc.replace_substring_regex(iso, _SLASHED_DATE, order)
    iso = pc.replace_substring_regex(iso, r"^(\d{4})/(\d{1,2})/(\d{1,2})\b", r"\1-\2-\3")
    for pattern, padded in ((r"-(\d)-", r"-0\1-"), (r"-(\d)([ T]|$)", r"-0\1\2"), (r"[ T]+,? *(\d):", r" 0\1:")):
        iso = pc.replace_substring_regex(iso, pattern, padded)
    iso = pc.replace_substring_regex(iso, r"(\d{4}-\d{2}-\d{2}),? +(\d{2}:)", r"\1 \2")
    found = _iso_micros(_where(iso, _ISO_TIME), timezone)
    hour = pc.hour(found)
    shift = pc.case_when(
        pc.make_struct(
            pc.and_(pc.equal(pc.utf8_lower(half), "p"), pc.less(hour, 12)),
            pc.and_(pc.equal(pc.utf8_lower(half), "a"), pc.equal(hour, 12)),
        ),
        pa.scalar(12 * 3600, pa.int64()),
        pa.scalar(-12 * 3600, pa.int64()),
        pa.scalar(0, pa.int64()),
    )
    found = pc.add(found, pc.multiply(pc.cast(shift, pa.int64()), 1_000_000).cast(pa.duration("us")))
    named = _where(texts, _MONTH_NAME)
    if named.null_count < len(named):
        parsed = pd.to_datetime(named.to_pandas(), format="mixed", utc=True, errors="coerce")
        found = pc.coalesce(found, _chunked(pa.Array.from_pandas(parsed).cast(TIMESTAMP, safe=False)))
    return _chunked(found.combine_chunks().take(encoded.indices))


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
