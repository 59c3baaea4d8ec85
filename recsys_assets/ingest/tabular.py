"""Rows of CSV and Parquet files; no row is lost. Whole logs are split by UTC day."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recsys_assets.ingest.columns import occurrence_numbers, parse_timestamps
from recsys_assets.ingest.files import Folder, SourceFile, decode_utf8
from recsys_assets.ingest.source import SourceError
from recsys_assets.schema import SET_ASIDE_SCHEMA, TableContract

EPOCH: Final = date(1970, 1, 1)

EARLIEST_DAY: Final = date(1990, 1, 1)
"""No shop kept an event log before; an earlier timestamp is a clock that was never set."""

_as_json = json.JSONEncoder(ensure_ascii=False).encode

NO_ROWS_SET_ASIDE = SET_ASIDE_SCHEMA.empty_table()


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


def read_csv(folder: Folder, file: SourceFile) -> Rows:
    """A CSV file as text columns; empty fields are null. Rows with too few or too many fields come back as malformed.

    Raises:
        SourceError: unreadable, truncated, not UTF-8 (with the byte offset), a column named twice, a quote that
            never closes.
    """
    label = folder.label(file.name)
    data = folder.read(file)
    names = _header(data, label)
    if not re.search(rb"[\r\n]", data):
        data += b"\n"  # Arrow calls a header without a line end an error; it is a file without rows.
    return parse_csv(data, names, label=label, base_name=file.name, skip_rows=1)


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
    malformed: list[tuple[int, str, str]] = []
    short_rows: list[int] = []

    def keep_aside(row: Any) -> str:
        number = int(row.number) - skip_rows
        reason = f"malformed row: {row.actual_columns} fields where the header has {row.expected_columns}"
        malformed.append((number, reason, _as_json(row.text)))
        if row.actual_columns < row.expected_columns:
            short_rows.append(number)
        return "skip"

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(data),
            # One thread: only then does Arrow number the rows that it skips.
            read_options=pa_csv.ReadOptions(
                use_threads=False, block_size=_block_size(data), column_names=list(names), skip_rows=skip_rows
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
    numbers = np.setdiff1d(np.arange(1, total + 1), np.array([row[0] for row in malformed], dtype=np.int64))
    return Rows(table, numbers, _malformed_table(base_name, malformed))


def read_table(folder: Folder, file: SourceFile) -> Rows:
    """A CSV (text columns) or Parquet (its own types) file; raises `SourceError` like `read_csv`."""
    if not file.name.endswith(".parquet"):
        return read_csv(folder, file)
    data = folder.read(file)
    try:
        # A Hive folder's date column is not part of the data: Arrow must not infer it from the path.
        table = pq.read_table(pa.BufferReader(data), partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(
            f"{folder.label(file.name)}: not a readable Parquet file ({error}); the upload broke off or the file is "
            "another format, deliver it again"
        ) from error
    return Rows(table, np.arange(1, table.num_rows + 1), NO_ROWS_SET_ASIDE)


def read_tables(folder: Folder, files: Sequence[SourceFile], contract: TableContract) -> Rows:
    """Several files of one canonical table as one. Columns outside the contract are dropped; a column whose type
    differs between files becomes text.

    Raises:
        SourceError: as `read_table`; no row in all the files; or a file with no canonical column at all.
    """
    parts = [read_table(folder, file) for file in files]
    for file, part in zip(files, parts, strict=True):
        if not set(part.table.column_names) & set(contract.schema.names):
            raise SourceError(
                f"{folder.label(file.name)}: none of its columns ({', '.join(part.table.column_names)}) is a column of "
                f"{contract.name}; the file needs a header, commas between fields, and the canonical names: "
                f"{', '.join(contract.schema.names)}"
            )
    if not sum(part.count for part in parts):
        where = folder.label(files[0].name) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        raise SourceError(f"{where}: a header but no rows; deliver the rows, or delete the file if there were none")
    try:
        table = _stack([_known_columns(part.table, contract) for part in parts])
    except pa.ArrowNotImplementedError as error:
        raise SourceError(
            f"{folder.label(files[0].name)} and {len(files) - 1} more: a column's types differ between the files and "
            f"cannot meet as text ({error}); write the files with one schema"
        ) from error
    return Rows(
        table=table,
        numbers=np.concatenate([part.numbers for part in parts]),
        malformed=pa.concat_tables([part.malformed for part in parts]),
    )


def set_aside_rows(
    source_file: str, numbers: Iterable[int], reasons: Sequence[str], raw: Iterable[Mapping[str, Any]]
) -> pa.Table:
    """Excluded rows as a ``SET_ASIDE_SCHEMA`` table; ``raw`` gives each row as a mapping."""
    text = [_as_json(row) for row in raw]
    return pa.table([[source_file] * len(reasons), list(numbers), list(reasons), text], schema=SET_ASIDE_SCHEMA)


def with_ids_of_events(entities: pa.Table, key: str, events: pa.ChunkedArray) -> pa.Table:
    """``entities`` and a row of nulls for every id that only ``events`` name, by id; of equal ids the first stays."""
    known = entities.filter(pa.array(occurrence_numbers(entities[key]) == 1)).filter(pc.is_valid(entities[key]))
    named = pc.unique(events.cast(pa.string())).drop_null()
    unknown = named.filter(pc.invert(pc.is_in(named, known[key].combine_chunks())))
    return pa.concat_tables([known, pa.table({key: unknown})], promote_options="default").sort_by(key)


@dataclass(frozen=True)
class EventsByDay:
    """Rows of a whole log, cut by the UTC day of their ``timestamp``, so that no day needs another parse.

    Rows whose day cannot be told (no timestamp, none that can be understood, or one before `EARLIEST_DAY` or after
    today, as zeroed and broken clocks write) and malformed rows belong to the log's first day: nothing is lost, no
    calendar is stretched by them, and the untouched value is there for the quality rules to refuse.
    """

    rows: pa.Table
    malformed: pa.Table
    bounds: Mapping[date, tuple[int, int]]

    @classmethod
    def cut(cls, rows: pa.Table, malformed: pa.Table, label: str) -> "EventsByDay":
        """Sort ``rows`` by day, keeping their order within a day.

        Raises:
            SourceError: there is no ``timestamp`` column, or no row has a timestamp that can be understood.
        """
        if "timestamp" not in rows.column_names:
            raise SourceError(
                f"{label}: no column timestamp, so no row has a day; add the column, or deliver one file per day"
            )
        days = pc.cast(pc.cast(parse_timestamps(rows["timestamp"]), pa.date32()), pa.int32())
        today = (datetime.now(UTC).date() - EPOCH).days
        possible = pc.and_(pc.greater_equal(days, (EARLIEST_DAY - EPOCH).days), pc.less_equal(days, today))
        days = pc.if_else(possible, days, pa.scalar(None, pa.int32()))
        if days.null_count == len(days):
            raise SourceError(
                f"{label}: none of its {rows.num_rows} well-formed rows has a timestamp that can be right; "
                "write ISO 8601, or unix seconds or milliseconds"
            )
        numbers = pc.fill_null(days, pc.min(days)).to_numpy()
        if np.any(np.diff(numbers) < 0):
            order = np.argsort(numbers, kind="stable")
            rows, numbers = rows.take(order), numbers[order]
        found, starts = np.unique(numbers, return_index=True)
        ends = np.append(starts[1:], len(numbers))
        calendar = pa.array(found, pa.int32()).cast(pa.date32()).to_pylist()
        bounds = {day: (int(a), int(b)) for day, a, b in zip(calendar, starts, ends, strict=True)}
        return cls(rows.combine_chunks(), malformed, bounds)

    def days(self) -> list[date]:
        """Days that have rows, ascending."""
        return list(self.bounds)

    def of(self, day: date) -> tuple[pa.Table, pa.Table]:
        """The rows of a day that `days` lists, and the malformed rows delivered with it."""
        start, end = self.bounds[day]
        is_first = day == next(iter(self.bounds))
        return self.rows.slice(start, end - start), self.malformed if is_first else NO_ROWS_SET_ASIDE


def _header(data: bytes, label: str) -> list[str]:
    end = re.search(rb"[\r\n]", data)
    line = data[: end.start()] if end else data
    if b"\x00" in line:
        offset = line.index(b"\x00")
        raise SourceError(f"{label}: not UTF-8: a zero byte at offset {offset} (UTF-16?); save the file as UTF-8")
    names = [name.strip() for name in next(csv.reader([decode_utf8(line, label)]), [])]
    if not any(names):
        raise SourceError(f"{label}: has no header; deliver the file again with the column names in the first row")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{label}: the header names {', '.join(twice)} twice; keep one column of each name")
    return names


def _block_size(data: bytes) -> int:
    # A row longer than a block cannot be read; 64 MiB is only reached where a quote was never closed.
    return int(min(max(len(data), 1 << 16), 1 << 26))


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


def _malformed_table(base_name: str, rows: Sequence[tuple[int, str, str]]) -> pa.Table:
    return pa.table(
        [[base_name] * len(rows), *([row[i] for row in rows] for i in range(3))],
        schema=SET_ASIDE_SCHEMA,
    )


def _known_columns(table: pa.Table, contract: TableContract) -> pa.Table:
    return table.select([name for name in contract.schema.names if name in table.column_names])


def _stack(tables: Sequence[pa.Table]) -> pa.Table:
    types: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            types.setdefault(field.name, set()).add(field.type)
    as_text = {name for name, kinds in types.items() if len(kinds) > 1}
    alike = [
        table.cast(
            pa.schema([field.with_type(pa.string()) if field.name in as_text else field for field in table.schema])
        )
        for table in tables
    ]
    return pa.concat_tables(alike, promote_options="default")
