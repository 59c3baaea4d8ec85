"""The source for files: applies a `Mapping` to a shop's own files and delivers canonical tables."""

from collections.abc import Callable, Sequence
from datetime import date
from itertools import repeat
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.apply_mapping import MappedRows, map_entities, map_events
from recsys_assets.ingest.columns import cast_where_clean, parse_timestamps, valid_ids
from recsys_assets.ingest.derived import merge_catalogue, products_of_events, users_of_events
from recsys_assets.ingest.files import Folder, SourceFile, no_drop
from recsys_assets.ingest.layout import Layout, find_layout, find_table_files
from recsys_assets.ingest.mapping import Mapping, TableMapping
from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.tabular import EventsByDay, possible_days, read_table, set_aside_rows, stack_tables
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS, TableContract, with_column
from recsys_assets.verdict import ROW_TOLERANCE, refuses_delivery

NO_DAY: Final = "no usable timestamp"
REPEATED: Final = "the same row is in an earlier file"


class MappedSource:
    """Interactions, products and users from a folder, an ``s3://`` prefix or one file, by a `Mapping`.

    * Where file or folder names give the day of the rows (see ``layout``), each day is read by itself. Otherwise the
      timestamps decide, and the log is read once and kept until a file changes. Rows of such a log without a usable
      timestamp are set aside with its first day, unless they are too many (`ROW_TOLERANCE`).
    * Rows with too few or too many fields, and rows that the mapping excludes, are set aside. Malformed rows
      of catalogue and user files are left out, unless they are too many.
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
        table = self.mapping.interactions
        parts = [
            map_events(read_table(self.folder, file, table), self.mapping, file.name, self.folder.label(file.name))
            for file in files
        ]
        if not sum(part.table.num_rows + part.set_aside.num_rows for part in parts):
            where = self.folder.label(files[0].name) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
            raise SourceError(f"{where}: a header but no rows; deliver the rows, or delete the file if there were none")
        merged = MappedRows(
            table=stack_tables([part.table for part in parts], self.folder.label(files[0].name)),
            files=np.repeat(np.arange(len(parts)), [part.table.num_rows for part in parts]),
            numbers=np.concatenate([part.numbers for part in parts]),
            set_aside=pa.concat_tables([part.set_aside for part in parts]),
        )
        return _without_repeated_files(merged, files)

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
        kept = _set_aside(rows, lost, files, NO_DAY)
        return EventsByDay.cut(kept.table, days.drop_null(), kept.set_aside)

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
        return derived if known is None else merge_catalogue(known, derived, contract)

    def _read_entities(self, contract: TableContract, table: TableMapping, files: Sequence[SourceFile]) -> pa.Table:
        """The rows of the catalogue or user files with valid ids; of equal rows the first.

        Raises:
            SourceError: too many malformed rows, or too many values that do not fit their column.
        """
        (key,) = contract.required
        tables = [
            map_entities(read_table(self.folder, file, table), self.mapping, contract, self.folder.label(file.name))
            for file in files
        ]
        found = stack_tables(tables, self.folder.label(files[0].name))
        if not found.num_rows:
            raise SourceError(f"{self.folder.label(files[0].name)}: a header but no rows; deliver the {contract.name}")
        found = found.filter(pc.fill_null(valid_ids(found[key]), False))
        if contract is PRODUCTS:
            found = with_column(found, "available", pc.fill_null(found["available"], True))
        return found


def _without_repeated_files(rows: MappedRows, files: Sequence[SourceFile]) -> MappedRows:
    """Set aside rows that an earlier file also has: exports overlap, and files are copied."""
    if len(files) < 2 or "interaction_id" not in rows.table.column_names:
        return rows
    keys = _canonical_columns(rows.table)
    frame = keys.to_pandas().assign(file=rows.files)
    repeated = np.array(frame.duplicated(keys.column_names, keep="first"))
    first = frame.groupby(keys.column_names, dropna=False, sort=False)["file"].transform("first").to_numpy()
    return _set_aside(rows, repeated & (rows.files != first), files, REPEATED)


def _set_aside(rows: MappedRows, out: npt.NDArray[np.bool_], files: Sequence[SourceFile], reason: str) -> MappedRows:
    """``rows`` without those of the mask ``out``, which are set aside for ``reason``."""
    if not out.any():
        return rows
    aside = [rows.set_aside]
    for number, file in enumerate(files):
        here = out & (rows.files == number)
        raw = _canonical_columns(rows.table).filter(pa.array(here)).to_pylist()
        aside.append(set_aside_rows(file.name, zip(rows.numbers[here].tolist(), repeat(reason), raw, strict=False)))
    return MappedRows(rows.table.filter(pa.array(~out)), rows.files[~out], rows.numbers[~out], pa.concat_tables(aside))


def _canonical_columns(table: pa.Table) -> pa.Table:
    return table.select([name for name in INTERACTIONS.schema.names if name in table.column_names])
