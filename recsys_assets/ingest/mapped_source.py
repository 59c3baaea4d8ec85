"""The source for files: applies a `Mapping` to a shop's own files and delivers canonical tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import (
    UnusableIds,
    cast_where_clean,
    parse_booleans,
    parse_numbers,
    parse_timestamps,
    plain_numbers,
    read_ids,
    read_text,
    valid_ids,
)
from recsys_assets.ingest.derived import merge_catalogue, products_of_events, users_of_events
from recsys_assets.ingest.files import Folder, SourceFile, no_drop
from recsys_assets.ingest.layout import Layout, find_layout, find_table_files
from recsys_assets.ingest.mapping import IGNORE, Mapping, SetAside, TableMapping
from recsys_assets.ingest.presets import EVENT_NAMES, PREPARE
from recsys_assets.ingest.rows import add_generated_ids, explode_items, fill_from_first_line, lookup
from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.tabular import (
    EventsByDay,
    Rows,
    possible_days,
    read_table,
    set_aside_rows,
    stack_tables,
)
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS, TableContract
from recsys_assets.verdict import ROW_TOLERANCE, refuses_delivery

NO_DAY: Final = "no usable timestamp"
IGNORED: Final = "the event is no interaction"
REPEATED: Final = "the same row is in an earlier file"

_CANONICAL_DERIVED = ("name", "category", "brand", "price")
"""Columns of canonical interactions from which products are derived where there is no catalogue."""

_NUMBERS = tuple(field.name for field in INTERACTIONS.schema if pa.types.is_floating(field.type))


@dataclass(frozen=True)
class MappedRows:
    """Rows of one or several files after the mapping.

    Attributes:
        table: canonical columns where the files have them, and columns ``products.<name>`` and ``users.<name>`` from
            which products and users are derived. Values that could be read are plain text or typed.
        files, numbers: int [table.num_rows], position of the file in the list that was read, and row number in it.
        set_aside: the other rows, with ``SET_ASIDE_SCHEMA``.
    """

    table: pa.Table
    files: np.ndarray[Any, np.dtype[np.int64]]
    numbers: np.ndarray[Any, np.dtype[np.int64]]
    set_aside: pa.Table


class MappedSource:
    """Interactions, products and users from a folder, an ``s3://`` prefix or one file, by a `Mapping`.

    * Where file or folder names give the day of the rows (see ``layout``), each day is read by itself. Otherwise the
      timestamps decide, and the log is read once and kept until a file changes. Rows of such a log without a usable
      timestamp are set aside with its first day, unless they are too many (`ROW_TOLERANCE`).
    * Rows with too few or too many fields, and rows that the mapping excludes, are set aside.
    * Each day's columns get their canonical type where every value fits; otherwise they stay text.
    * Without an id, an event's id is made from its content, so that the same file twice counts once.
    * Products: the catalogue files; for a whole log also the products that only events name, as not available. Without
      catalogue files, products are derived from the events. Users likewise.
    """

    def __init__(self, folder: Folder, mapping: Mapping) -> None:
        self.folder = folder
        self.mapping = mapping
        self._log: tuple[tuple[SourceFile, ...], EventsByDay] | None = None
        self._all: tuple[tuple[SourceFile, ...], pa.Table] | None = None

    @property
    def name(self) -> str:
        """Name of the preset, as in ``RECSYS_SOURCE``."""
        return self.mapping.preset

    def days(self) -> list[date]:
        """UTC days that have events. A log that is not cut into days is read for this. Raises `SourceError`."""
        layout = self.layout()
        return list(layout.by_day) or list(self._events(layout.whole).bounds)

    def read_day(self, day: date) -> DayOfEvents:
        """Events of one day; raises `SourceError` as `Source.read_day` says."""
        layout = self.layout()
        if day not in (layout.by_day or self._events(layout.whole).bounds):
            raise no_drop(self.folder.uri, day, self.days())
        if layout.by_day:
            rows = self.read_events(self._files_of(day, layout))
            table, aside = rows.table, rows.set_aside
        else:
            table, aside = self._events(layout.whole).of(day)
        return DayOfEvents(cast_where_clean(table, INTERACTIONS), aside, table.num_rows + aside.num_rows)

    def products(self) -> pa.Table:
        """The catalogue; all canonical columns. Raises `SourceError`."""
        return self._entities(PRODUCTS, self.mapping.products, products_of_events)

    def users(self) -> pa.Table:
        """The users; all canonical columns. Raises `SourceError`."""
        return self._entities(USERS, self.mapping.users, users_of_events)

    def remember(self, rows: MappedRows, files: tuple[SourceFile, ...]) -> EventsByDay:
        """Keep ``rows`` of `read_events` as the log, so that it is not read again. Raises `SourceError` as `days`."""
        events = self._by_day(rows, files)
        self._log = (files, events)
        return events

    def layout(self) -> Layout:
        """Where the interactions are. Raises `SourceError`."""
        return find_layout(self.folder, self.mapping)

    def read_events(self, files: Sequence[SourceFile]) -> MappedRows:
        """Rows of ``files`` after the mapping; no row is lost. Raises `SourceError`, also when there is no row."""
        parts = [self._map(read_table(self.folder, file, self.mapping.interactions), file) for file in files]
        if not sum(part.table.num_rows + part.set_aside.num_rows for part in parts):
            where = self.folder.label(files[0].name) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
            raise SourceError(f"{where}: a header but no rows; deliver the rows, or delete the file if there were none")
        table = stack_tables([part.table for part in parts], self.folder.label(files[0].name))
        merged = MappedRows(
            table=table,
            files=np.repeat(np.arange(len(parts)), [part.table.num_rows for part in parts]),
            numbers=np.concatenate([part.numbers for part in parts]),
            set_aside=pa.concat_tables([part.set_aside for part in parts]),
        )
        return self.without_repeated_files(merged, files)

    def _map(self, rows: Rows, file: SourceFile) -> MappedRows:
        """One file's rows as canonical columns."""
        table, label = self.mapping.interactions, self.folder.label(file.name)
        raw, numbers = explode_items(rows.table, rows.numbers, table, label)
        if table.fill_from_first_line:
            raw = fill_from_first_line(raw, table.order)
        prepare = PREPARE.get((self.mapping.preset, "interactions"))
        delivered, raw = raw, prepare(raw) if prepare else raw
        derived = {f"{role}.{name}": c for role in ("products", "users") for name, c in self._derived(role).items()}
        mapped = self._select(raw, INTERACTIONS, table, label)
        mapped = _with_event_names(mapped, table)
        reasons = _reasons(raw, mapped, table)
        mapped = self._read_values(mapped, table, label, numbers)
        mapped = add_generated_ids(mapped, lookup(raw, table.order.split("|")) if table.order else None)
        for name, columns in derived.items():
            column = lookup(raw, columns)
            if column is not None:
                mapped = mapped.append_column(name, column)
        keep = pc.is_null(reasons)
        excluded = pc.invert(keep)
        aside = set_aside_rows(
            file.name,
            numbers[excluded.to_numpy(zero_copy_only=False)].tolist(),
            reasons.filter(excluded).to_pylist(),
            delivered.filter(excluded).to_pylist(),
        )
        kept = keep.to_numpy(zero_copy_only=False)
        count = int(kept.sum())
        return MappedRows(
            mapped.filter(keep), np.zeros(count, np.int64), numbers[kept], pa.concat_tables([aside, rows.malformed])
        )

    def _derived(self, role: str) -> dict[str, tuple[str, ...]]:
        """Columns of the events from which a table without files is derived: canonical column -> columns."""
        if self.mapping.preset == "canonical":
            return {name: (name,) for name in _CANONICAL_DERIVED} if role == "products" else {}
        table: TableMapping = getattr(self.mapping, role)
        return {} if table.files else table.columns

    def _select(self, raw: pa.Table, contract: TableContract, table: TableMapping, label: str) -> pa.Table:
        """The mapped columns and constants in the contract's order.

        Raises:
            SourceError: a required column, or a mapped one of the interactions, is missing.
        """
        columns: dict[str, Any] = {}
        absent = []
        for name in contract.schema.names:
            if name in table.constants:
                columns[name] = pa.chunked_array([pa.repeat(pa.scalar(table.constants[name]), raw.num_rows)])
            elif name in table.columns:
                column = lookup(raw, table.columns[name])
                if column is not None:
                    columns[name] = column
                else:
                    absent.append(" or ".join(table.columns[name]))
        absent += [name for name in table.required if lookup(raw, (name,)) is None and name not in absent]
        if absent and contract is INTERACTIONS and self.mapping.preset != "canonical":
            raise SourceError(
                f"{label}: column(s) missing: {', '.join(absent)}; the file has {', '.join(raw.column_names)}",
                remedy="deliver the file with them, or correct [columns] in mapping.toml",
            )
        if not columns:
            raise SourceError(
                f"{label}: none of its columns ({', '.join(raw.column_names)}) is a column of {contract.name}; the "
                f"file needs a header and the canonical names: {', '.join(contract.schema.names)}",
                remedy="or name its columns with --map, for example --map user_id=customer",
            )
        return pa.table(columns)

    def _read_values(
        self, mapped: pa.Table, table: TableMapping, label: str, numbers: np.ndarray[Any, np.dtype[np.int64]]
    ) -> pa.Table:
        """Values in plain form: ids trimmed, numbers with a point, times in UTC; what cannot be read stays as it is."""
        columns = {}
        for name in mapped.column_names:
            column = mapped[name]
            if name in _NUMBERS:
                column = _read_numbers(column, table.decimal)
            elif name == "timestamp":
                column = _read_times(column, table)
            elif pa.types.is_nested(column.type):
                column = read_text(column)
            else:
                try:
                    column = read_ids(column)
                    if name == "user_id":  # e-mail addresses do not distinguish upper case
                        column = pc.if_else(pc.match_substring(column, "@"), pc.utf8_lower(column), column)
                except UnusableIds as error:
                    raise SourceError(
                        f"{label}: row {numbers[error.row]}, column {name}: {error}",
                        remedy="export the ids as text",
                    ) from error
            columns[name] = column
        return pa.table(columns)

    def without_repeated_files(self, rows: MappedRows, files: Sequence[SourceFile]) -> MappedRows:
        """Set aside rows that an earlier file also has: exports overlap, and files are copied."""
        if len(files) < 2 or "interaction_id" not in rows.table.column_names:
            return rows
        keys = rows.table.select([name for name in INTERACTIONS.schema.names if name in rows.table.column_names])
        frame = keys.to_pandas().assign(file=rows.files)
        repeated = np.array(frame.duplicated(keys.column_names, keep="first"))
        first = frame.groupby(keys.column_names, dropna=False, sort=False)["file"].transform("first").to_numpy()
        repeated &= rows.files != first
        if not repeated.any():
            return rows
        aside = [
            set_aside_rows(
                file.name,
                rows.numbers[repeated & (rows.files == number)].tolist(),
                [REPEATED] * int((repeated & (rows.files == number)).sum()),
                keys.filter(pa.array(repeated & (rows.files == number))).to_pylist(),
            )
            for number, file in enumerate(files)
        ]
        keep = ~repeated
        return MappedRows(
            rows.table.filter(pa.array(keep)),
            rows.files[keep],
            rows.numbers[keep],
            pa.concat_tables([*aside, rows.set_aside]),
        )

    def _events(self, files: tuple[SourceFile, ...]) -> EventsByDay:
        if self._log is None or self._log[0] != files:
            return self.remember(self.read_events(files), files)
        return self._log[1]

    def _by_day(self, rows: MappedRows, files: Sequence[SourceFile]) -> EventsByDay:
        """The rows of a whole log by day. Raises `SourceError`: no timestamps, or too many that are not usable."""
        label = self.folder.label(files[0].name)
        if not rows.table.num_rows:
            listed = ", ".join(pc.unique(rows.set_aside["reason"]).to_pylist())
            raise SourceError(
                f"{label}: all {rows.set_aside.num_rows:,} rows are set aside ({listed})",
                remedy="correct the columns or the rules in mapping.toml",
            )
        if "timestamp" not in rows.table.column_names:
            raise SourceError(
                f"{label}: no column timestamp, so no row has a day; add the column, or deliver one file per day"
            )
        days = possible_days(parse_timestamps(rows.table["timestamp"]))
        lost = pc.is_null(days).to_numpy(zero_copy_only=False)
        failed, total = int(lost.sum()), rows.table.num_rows
        if failed == total or refuses_delivery(failed, total, total, ROW_TOLERANCE):
            first = int(np.flatnonzero(lost)[0]) if failed else 0
            example = (
                f", the first is row {rows.numbers[first]} of {files[rows.files[first]].name} with "
                f"{str(rows.table['timestamp'][first].as_py())!r}"
                if failed
                else ""
            )
            raise SourceError(
                f"{label}: no usable timestamp in {failed:,} of {total:,} rows{example}; write ISO 8601 such as "
                "2024-12-31T10:00:00Z, or unix seconds or milliseconds",
                remedy="dates such as 31/12/2024 need day_first = true or false in mapping.toml",
            )
        aside = [rows.set_aside]
        for number, file in enumerate(files):
            here = lost & (rows.files == number)
            if here.any():
                names = [name for name in INTERACTIONS.schema.names if name in rows.table.column_names]
                raw = rows.table.select(names).filter(pa.array(here)).to_pylist()
                reasons = [NO_DAY] * len(raw)
                aside.append(set_aside_rows(file.name, rows.numbers[here].tolist(), reasons, raw))
        keep = pa.array(~lost)
        return EventsByDay.cut(rows.table.filter(keep), days.filter(keep), pa.concat_tables(aside))

    def _files_of(self, day: date, layout: Layout) -> tuple[SourceFile, ...]:
        if not layout.by_day[day]:
            raise SourceError(
                f"{self.folder.uri}: the folder of {day} holds no .csv, .csv.gz or .parquet file; deliver the day, or "
                "delete its folder if there was no data"
            )
        return layout.by_day[day]

    def _all_events(self) -> pa.Table:
        """Every delivered event of all days, kept until a file changes."""
        layout = self.layout()
        if not layout.by_day:
            return self._events(layout.whole).rows
        files = tuple(file for day in layout.by_day for file in self._files_of(day, layout))
        if self._all is None or self._all[0] != files:
            tables = [self.read_events(self._files_of(day, layout)).table for day in layout.by_day]
            self._all = (files, stack_tables(tables, self.folder.uri))
        return self._all[1]

    def _entities(
        self, contract: TableContract, table: TableMapping, derive: Callable[[pa.Table, str], pa.Table]
    ) -> pa.Table:
        (key,) = contract.required
        files = find_table_files(self.folder, self.mapping, contract.name)
        known = self._read_entities(contract, table, files) if files else None
        if known is not None and self.layout().by_day:
            return known
        events = self._all_events()
        if key not in events.column_names:
            if known is not None:
                return known
            raise SourceError(
                f"{self.folder.uri}: neither {contract.name} nor a column {key} in the interactions; add one"
            )
        derived = derive(events, self.mapping.interactions.decimal)
        if known is None:
            return derived
        return merge_catalogue(known, derived, contract)

    def _read_entities(self, contract: TableContract, table: TableMapping, files: Sequence[SourceFile]) -> pa.Table:
        """The rows of the catalogue or user files with valid ids; of equal rows the first.

        Raises:
            SourceError: malformed rows, or too many values that do not fit their column.
        """
        (key,) = contract.required
        prepare = PREPARE.get((self.mapping.preset, contract.name))
        tables = []
        for file in files:
            label = self.folder.label(file.name)
            rows = read_table(self.folder, file, table)
            if rows.malformed.num_rows:
                first = rows.malformed.slice(0, 1).to_pylist()[0]
                raise SourceError(
                    f"{label}: {rows.malformed.num_rows} malformed row(s), the first is row {first['source_row']} "
                    f"({first['reason']}: {first['raw']}); repair them and deliver the file again"
                )
            raw = prepare(rows.table) if prepare else rows.table
            mapped = self._select(raw, contract, table, label)
            if key not in mapped.column_names:
                raise SourceError(f"{label}: required column(s) missing: {key}; add it")
            tables.append(self._typed(mapped, contract, table, label, rows.numbers))
        found = stack_tables(tables, self.folder.label(files[0].name))
        if not found.num_rows:
            raise SourceError(f"{self.folder.label(files[0].name)}: a header but no rows; deliver the {contract.name}")
        found = found.filter(pc.fill_null(valid_ids(found[key]), False))
        if contract is PRODUCTS:
            available = found["available"]
            found = found.set_column(found.column_names.index("available"), "available", pc.fill_null(available, True))
        return found

    def _typed(
        self, mapped: pa.Table, contract: TableContract, table: TableMapping, label: str,
        numbers: np.ndarray[Any, np.dtype[np.int64]],
    ) -> pa.Table:  # fmt: skip
        """All columns of ``contract`` with their types; up to `ROW_TOLERANCE` of a column's values may not fit."""
        plain = self._read_values(mapped.select([contract.required[0]]), table, label, numbers)
        for name in mapped.column_names:
            if name == contract.required[0]:
                continue
            kind, column = contract.schema.field(name).type, mapped[name]
            given = read_text(column)
            if pa.types.is_floating(kind) or pa.types.is_integer(kind):
                read = parse_numbers(column, table.decimal)
                read = pc.if_else(pc.is_finite(read), read, None)
                read = pc.round(read).cast(kind) if pa.types.is_integer(kind) else read
            elif pa.types.is_date(kind):
                read = _read_times(column, table)
                read = parse_timestamps(read).cast(kind)
            else:
                read = cast_where_clean(pa.table({name: column}), contract)[name]
                if read.type != kind:
                    read = parse_booleans(column) if pa.types.is_boolean(kind) else given
            bad = pc.and_(pc.is_valid(given), pc.is_null(read)).to_numpy(zero_copy_only=False)
            if refuses_delivery(int(bad.sum()), len(bad) - given.null_count, len(bad), ROW_TOLERANCE):
                first = int(np.flatnonzero(bad)[0])
                raise SourceError(
                    f"{label}: {contract.name}.{name}: {int(bad.sum()):,} of {len(bad):,} values are no {kind}; "
                    f"the first is {given[first].as_py()!r} in row {numbers[first]}",
                    remedy="correct the values, or leave them empty",
                )
            plain = plain.append_column(name, read)
        return contract.conform(plain)


def _read_numbers(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """Numbers where every value is one; otherwise text, in plain form where a value can be read."""
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        return column
    plain = plain_numbers(column, decimal)
    text = read_text(column)
    return plain.cast(pa.float64()) if plain.null_count == text.null_count else pc.coalesce(plain, text)


def _read_times(column: pa.ChunkedArray, table: TableMapping) -> pa.ChunkedArray:
    """Times in UTC where all can be read; text, with those that can be read in ISO 8601, where some cannot."""
    moments = parse_timestamps(column, day_first=table.day_first, timezone=table.timezone)
    given = read_text(column)
    if moments.null_count == given.null_count:
        return moments
    if table.day_first is None and table.timezone == "UTC":
        return given
    return pc.coalesce(pc.strftime(moments, format="%Y-%m-%dT%H:%M:%SZ"), given)


def _with_event_names(mapped: pa.Table, table: TableMapping) -> pa.Table:
    if "interaction_type" not in mapped.column_names:
        return mapped
    names = read_text(mapped["interaction_type"])
    usual = {} if table.other_events == "ignore" else EVENT_NAMES
    known = {**usual, **{name.strip().lower(): kind for name, kind in table.event_names.items()}}
    keys = pa.array(known)
    position = pc.index_in(pc.utf8_lower(names), keys)
    translated = pa.chunked_array([pa.array(list(known.values())).take(position.combine_chunks())])
    rest = pa.scalar(IGNORE) if table.other_events == "ignore" else names
    index = mapped.column_names.index("interaction_type")
    return mapped.set_column(index, "interaction_type", pc.if_else(pc.is_valid(translated), translated, rest))


def _reasons(raw: pa.Table, mapped: pa.Table, table: TableMapping) -> pa.ChunkedArray:
    """For each row the first reason to set it aside, or null."""
    reasons: pa.ChunkedArray = pa.chunked_array([pa.nulls(raw.num_rows, pa.string())])
    for rule in reversed(table.set_aside):
        column = mapped[rule.column] if rule.column in mapped.column_names else lookup(raw, (rule.column,))
        if column is not None:
            reasons = pc.if_else(_applies(rule, column, table.decimal), rule.reason, reasons)
    if "interaction_type" in mapped.column_names:
        ignored = pc.fill_null(pc.equal(read_text(mapped["interaction_type"]), IGNORE), False)
        reasons = pc.if_else(ignored, IGNORED, reasons)
    return reasons


def _applies(rule: SetAside, column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    text = read_text(column)
    found = pa.chunked_array([pa.repeat(pa.scalar(False), len(text))])
    if rule.missing:
        found = pc.or_(found, pc.is_null(text))
    if rule.values:
        found = pc.or_(found, pc.is_in(pc.utf8_lower(text), pa.array([value.lower() for value in rule.values])))
    if rule.pattern:
        found = pc.or_(found, pc.fill_null(pc.match_substring_regex(text, rule.pattern), False))
    if rule.not_positive:
        found = pc.or_(found, pc.fill_null(pc.less_equal(parse_numbers(column, decimal), 0), False))
    return found
