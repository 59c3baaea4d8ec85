"""Rows of CSV and Parquet files; no row is lost. Whole logs are split by UTC day."""

import ast
import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_assets.ingest.files import JSON_SUFFIXES, Folder, SourceFile, decode_utf8, stem_of
from recsys_assets.ingest.mapping import TableMapping
from recsys_assets.ingest.source import SourceError
from recsys_assets.schema import SET_ASIDE_SCHEMA

EPOCH: Final = date(1970, 1, 1)

EARLIEST_DAY: Final = date(1990, 1, 1)
"""No shop kept an event log before; an earlier timestamp is a clock that was never set."""

NO_ROWS_SET_ASIDE = SET_ASIDE_SCHEMA.empty_table()

DEFAULT_FORMAT: Final = TableMapping()
MAX_BLOCK_BYTES: Final = 1 << 26
"""Arrow refuses a row that is longer than a block; only a quote that never closes makes one so long."""

_DECODED_AT_ONCE: Final = 1 << 24
_ONE_CHARACTER: Final = b"\x1f"


@dataclass(frozen=True)
class Rows:
    """Rows of one or more files.

    Attributes:
        table: rows that have the header's number of fields; text columns from CSV, typed ones from Parquet.
        numbers: int64 [table.num_rows], number of each row in its file: 1 is the first row below the header; blank
            lines are not counted.
        malformed: the other rows, with ``SET_ASIDE_SCHEMA``.
    """

    table: pa.Table
    numbers: npt.NDArray[np.int64]
    malformed: pa.Table

    @property
    def count(self) -> int:
        """Rows read, well formed or not."""
        return int(self.table.num_rows + self.malformed.num_rows)


def read_csv(folder: Folder, file: SourceFile, table: TableMapping = DEFAULT_FORMAT) -> Rows:
    """A CSV file as text columns; empty fields are null. Rows with too few or too many fields come back as malformed.

    Raises:
        SourceError: unreadable, truncated, not in its encoding (with the byte offset), a column named twice, a quote
            that never closes.
    """
    label = folder.label(file.name)
    data = _as_utf8(folder.read(file), table.encoding, label)
    delimiter = table.delimiter
    if len(delimiter) > 1:
        data, delimiter = data.replace(delimiter.encode(), _ONE_CHARACTER), _ONE_CHARACTER.decode()
    names = list(table.header) or read_header(data, label, delimiter)
    if not re.search(rb"[\r\n]", data):
        data += b"\n"  # Arrow calls a header without a line end an error; it is a file without rows.
    return parse_csv(
        data, names, label=label, base_name=file.name, skip_rows=0 if table.header else 1, delimiter=delimiter,
        quote='"' if table.quotes else None,
    )  # fmt: skip


def parse_csv(
    data: bytes,
    names: Sequence[str],
    *,
    label: str,
    base_name: str,
    skip_rows: int = 0,
    delimiter: str = ",",
    quote: str | None = '"',
) -> Rows:
    """UTF-8 delimited text as text columns called ``names``; see `read_csv` for the rules and errors."""
    malformed: list[tuple[int, str, Any]] = []
    short_rows: list[int] = []

    def keep_aside(row: Any) -> str:
        number = int(row.number) - skip_rows
        reason = f"malformed row: {row.actual_columns} fields where the header has {row.expected_columns}"
        malformed.append((number, reason, row.text))
        if row.actual_columns < row.expected_columns:
            short_rows.append(number)
        return "skip"

    block_size = min(max(len(data), 1 << 16), MAX_BLOCK_BYTES)
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            # One thread: only then does Arrow number the rows that it skips.
            read_options=pa_csv.ReadOptions(
                use_threads=False, block_size=block_size, column_names=list(names), skip_rows=skip_rows
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter,
                quote_char=quote or False,
                newlines_in_values=quote is not None,
                invalid_row_handler=keep_aside,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=True, null_values=[""]
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        decode_utf8(data, label)
        raise SourceError(f"{label}: not readable as CSV ({error}); repair the file and deliver it again") from error
    _refuse_open_quote(data, label, quote)
    total = table.num_rows + len(malformed)
    if short_rows and short_rows[-1] == total and not data.endswith((b"\n", b"\r")):
        raise SourceError(f"{label}: ends in the middle of row {total}; the upload broke off, deliver the file again")
    numbers = np.arange(1, total + 1)
    if malformed:
        numbers = np.delete(numbers, np.array([row[0] for row in malformed]) - 1)
    return Rows(table, numbers, set_aside_rows(base_name, malformed))


def read_json_lines(folder: Folder, file: SourceFile) -> Rows:
    """A file with one JSON object per line; nested values stay nested, other values become text.

    Lines that are no JSON object come back as malformed. ``NaN`` is a missing value, and half of a surrogate pair
    becomes the replacement character.

    Raises:
        SourceError: unreadable, not UTF-8, one JSON array, cut off in its last line, or without a line.
    """
    label = folder.label(file.name)
    data = folder.read(file)
    text = decode_utf8(data, label)
    if text.lstrip()[:1] == "[":
        raise SourceError(f"{label}: is one JSON array; write one object per line")
    rows = read_json_text(text, file.name)
    if not rows.count:
        raise SourceError(f"{label}: no lines; deliver the rows, or delete the file if there were none")
    if rows.malformed.num_rows and not data.endswith(b"\n"):
        last = rows.malformed["source_row"][-1].as_py()
        if last > rows.numbers.max(initial=0):
            raise SourceError(
                f"{label}: ends in the middle of line {last}; the upload broke off, deliver the file again"
            )
    return rows


def read_json_text(text: str, base_name: str) -> Rows:
    """The rows of JSON lines; see `read_json_lines`."""
    objects: list[dict[str, Any]] = []
    numbers: list[int] = []
    refused: list[tuple[int, str, Any]] = []
    # Only \n ends a line of JSON: str.splitlines would also cut at U+2028 inside a title.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        found = _json_object(line)
        if found is None:
            refused.append((number, "malformed row: no JSON object", {"line": line}))
        else:
            objects.append(found)
            numbers.append(number)
    names = dict.fromkeys(name for item in objects for name in item)
    columns = {name: _json_column([item.get(name) for item in objects]) for name in names}
    rows = pa.table(columns) if columns else pa.table({"": pa.nulls(len(objects), pa.string())})
    return Rows(rows, np.array(numbers, dtype=np.int64), set_aside_rows(base_name, refused))


def read_table(folder: Folder, file: SourceFile, table: TableMapping = DEFAULT_FORMAT) -> Rows:
    """A CSV (text columns), JSON lines or Parquet (its own types) file; raises `SourceError` like `read_csv`."""
    if stem_of(file.name.lower(), JSON_SUFFIXES) is not None:
        return read_json_lines(folder, file)
    if not file.name.lower().endswith(".parquet"):
        return read_csv(folder, file, table)
    data = folder.read(file)
    try:
        # A Hive folder's date column is not part of the data: Arrow must not infer it from the path.
        rows = pq.read_table(pa.BufferReader(data), partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{folder.label(file.name)}: not a readable Parquet file ({error}); the upload broke off or the file is "
            "another format, deliver it again"
        ) from error
    return Rows(rows, np.arange(1, rows.num_rows + 1), NO_ROWS_SET_ASIDE)


def set_aside_rows(source_file: str, rows: Iterable[tuple[int, str, Any]]) -> pa.Table:
    """Excluded rows, each with its number in the file, reason and content, as a ``SET_ASIDE_SCHEMA`` table."""
    as_json = json.JSONEncoder(ensure_ascii=False, default=str).encode
    listed = [(source_file, number, reason, as_json(raw)) for number, reason, raw in rows]
    columns = list(zip(*listed, strict=True)) or [()] * len(SET_ASIDE_SCHEMA)
    return pa.table([list(column) for column in columns], schema=SET_ASIDE_SCHEMA)


@dataclass(frozen=True)
class EventsByDay:
    """Rows of a whole log, sorted by the UTC day of their ``timestamp``, so one parse serves all days.

    ``set_aside`` belongs to the log's first day.
    """

    rows: pa.Table
    set_aside: pa.Table
    bounds: Mapping[date, tuple[int, int]]

    @classmethod
    def cut(cls, rows: pa.Table, days: pa.ChunkedArray, set_aside: pa.Table) -> "EventsByDay":
        """Sort ``rows`` by ``days`` (date32, no nulls), keeping their order within a day."""
        numbers = days.cast(pa.int32()).to_numpy()
        if np.any(np.diff(numbers) < 0):
            order = np.argsort(numbers, kind="stable")
            rows, numbers = rows.take(order), numbers[order]
        found, starts = np.unique(numbers, return_index=True)
        ends = np.append(starts[1:], len(numbers))
        calendar = pa.array(found, pa.int32()).cast(pa.date32()).to_pylist()
        bounds = {day: (int(a), int(b)) for day, a, b in zip(calendar, starts, ends, strict=True)}
        return cls(rows.combine_chunks(), set_aside, bounds)

    def of(self, day: date) -> tuple[pa.Table, pa.Table]:
        """The rows of a day in ``bounds``, and the rows that are set aside with it."""
        start, end = self.bounds[day]
        is_first = day == next(iter(self.bounds))
        return self.rows.slice(start, end - start), self.set_aside if is_first else NO_ROWS_SET_ASIDE


def possible_days(timestamps: pa.ChunkedArray) -> pa.ChunkedArray:
    """UTC day of each timestamp; null without one, before `EARLIEST_DAY` or after today: such clocks were never set."""
    days = pc.cast(pc.cast(timestamps, pa.date32()), pa.int32())
    today = (datetime.now(UTC).date() - EPOCH).days
    possible = pc.and_(pc.greater_equal(days, (EARLIEST_DAY - EPOCH).days), pc.less_equal(days, today))
    return pc.if_else(possible, days, pa.scalar(None, pa.int32())).cast(pa.date32())


def read_header(data: bytes, label: str, delimiter: str = ",") -> list[str]:
    """Column names in the first line. Raises `SourceError`: no UTF-8, no name, or a name twice."""
    end = re.search(rb"[\r\n]", data)
    line = data[: end.start()] if end else data
    if b"\x00" in line:
        offset = line.index(b"\x00")
        raise SourceError(f"{label}: not UTF-8: a zero byte at offset {offset} (UTF-16?); save the file as UTF-8")
    names = [name.strip() for name in next(csv.reader([decode_utf8(line, label)], delimiter=delimiter), [])]
    if not any(names):
        raise SourceError(f"{label}: has no header; deliver the file again with the column names in the first row")
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise SourceError(f"{label}: the header names {', '.join(twice)} twice; keep one column of each name")
    return [name or f"column {number}" for number, name in enumerate(names, start=1)]


def _as_utf8(data: bytes, encoding: str, label: str) -> bytes:
    """``data`` in UTF-8 without a byte order mark. MovieLens mixes UTF-8 and Latin-1: ``utf-8|latin-1`` tries both."""
    for name in encoding.split("|"):
        if name in ("utf-8", "utf8") and "|" not in encoding:
            _require_utf8(data, label)
            return data.removeprefix(b"\xef\xbb\xbf")
        try:
            return data.decode(name).removeprefix("\ufeff").encode()
        except UnicodeDecodeError as error:
            reason = error
        except LookupError as error:
            raise SourceError(
                f"{label}: encoding = {name!r} in mapping.toml is not known; use for example cp1252"
            ) from error
    raise SourceError(f"{label}: not {encoding} (offset {reason.start}); correct encoding in mapping.toml") from reason


def _require_utf8(data: bytes, label: str) -> None:
    """Raises `SourceError` with the offset of a byte that is not UTF-8. (Arrow only prints it, for a malformed row.)"""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _DECODED_AT_ONCE):
            decoder.decode(data[start : start + _DECODED_AT_ONCE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        decode_utf8(data, label)


def _json_object(line: str) -> dict[str, Any] | None:
    """The object of a line: JSON, or a Python literal as in the Amazon metadata of 2014."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        try:
            found = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def _json_column(values: list[Any]) -> pa.Array:
    """Nested values keep their structure where all rows share one; everything else becomes text."""
    if any(isinstance(value, list | dict) for value in values):
        # Rows without a common structure, and halves of surrogate pairs, become text below.
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            return pa.array(values)
    return pa.array([_json_text(value) for value in values], pa.string())


def _json_text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _refuse_open_quote(data: bytes, label: str, quote: str | None) -> None:
    """Arrow reads on from a quote that never closes to the next quote or the end of the file, and calls it one value.

    An odd number of quotes is no proof, since a field may hold one (5" candle); Python's strict reader tells.
    """
    if quote is None or data.count(quote.encode()) % 2 == 0:
        return
    reader = csv.reader(io.StringIO(decode_utf8(data, label), newline=""), quotechar=quote, strict=True)
    last_good = 1
    try:
        for _ in reader:
            last_good = reader.line_num
    except csv.Error as error:
        raise SourceError(
            f"{label}: a quote after line {last_good} has no partner ({error}); the upload broke off, or a quote in a "
            "quoted field is not doubled; repair the file and deliver it again"
        ) from error


def stack_tables(tables: Sequence[pa.Table], label: str) -> pa.Table:
    """Tables one below the other; a column whose type differs between them becomes text.

    Raises:
        SourceError: a column is nested in one table and not in another.
    """
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            if not pa.types.is_null(field.type):
                types.setdefault(field.name, set()).add(field.type)
    as_text = {name for name, kinds in types.items() if len(kinds) > 1}
    try:
        alike = [
            table.cast(
                pa.schema([field.with_type(pa.string()) if field.name in as_text else field for field in table.schema])
            )
            for table in tables
        ]
    except pa.ArrowNotImplementedError as error:
        raise SourceError(
            f"{label} and others: a column's types differ between the files and cannot meet as text ({error}); write "
            "the files with one schema"
        ) from error
    return pa.concat_tables(alike, promote_options="default")
