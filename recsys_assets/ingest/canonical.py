"""Source for a folder or ``s3://`` prefix of CSV or Parquet files in the canonical schema."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.ingest.columns import cast_where_clean
from recsys_assets.ingest.files import (
    TABLE_SUFFIXES,
    Folder,
    SourceFile,
    daily_files,
    day_in_name,
    headers,
    no_drop,
    parse_day,
    stem_of,
)
from recsys_assets.ingest.source import DayOfEvents, SourceError
from recsys_assets.ingest.tabular import EventsByDay, Rows, read_tables
from recsys_assets.schema import INTERACTIONS, PRODUCTS, USERS, TableContract

LAYOUT = (
    "interactions.csv[.gz] or .parquet; a folder interactions/ of such files, of files named YYYY-MM-DD, or of folders "
    "date=YYYY-MM-DD/; or the days at the top of the folder"
)
"""What is looked for, for messages."""


@dataclass(frozen=True)
class Layout:
    """Where the interactions are: one drop per day, or files to be cut by day. Exactly one of the two is not empty.

    A Hive day whose folder holds no data file is a day with no files: reading it is an error, reading others is not.
    """

    by_day: dict[date, tuple[SourceFile, ...]]
    whole: tuple[SourceFile, ...]


class CanonicalSource:
    """Canonical interactions, products and users from files.

    * Events: one of the layouts in ``LAYOUT``. In a daily layout the name decides the day and the timestamps are not
      looked at. In a whole-file layout the timestamps decide; rows whose day cannot be told are delivered on the
      first day, their timestamp untouched (see `EventsByDay`).
    * Each day's columns get their canonical type only where every value of that day fits; else they stay as they are.
      Timestamps may be ISO 8601 (UTC where no offset is given), or unix seconds or milliseconds.
    * ``products.*`` / ``users.*`` or folders of these names. Where absent, the ids are those that events name.
      Products without a column ``available`` are all available. Other missing optional columns come as nulls.
    * Rows with too few or too many fields are set aside; columns outside the schema are dropped.

    A whole-file log is parsed once and kept in memory until the files change.
    """

    name: ClassVar[str] = "canonical"

    def __init__(self, location: str) -> None:
        self._folder = Folder(location)
        self._log: tuple[tuple[SourceFile, ...], EventsByDay] | None = None

    def days(self) -> list[date]:
        """UTC days that have events. A whole-file log is parsed for this. Raises `SourceError`."""
        layout = self._layout()
        return list(layout.by_day) or self._events(layout.whole).days()

    def read_day(self, day: date) -> DayOfEvents:
        """Events of one day; raises `SourceError` as `Source.read_day` says."""
        layout = self._layout()
        if day not in (layout.by_day or self._events(layout.whole).bounds):
            raise no_drop(self._folder.uri, day, self.days())
        if layout.by_day:
            rows = self._read_drop(day, layout.by_day[day])
            table, malformed = rows.table, rows.malformed
        else:
            table, malformed = self._events(layout.whole).of(day)
        return DayOfEvents(cast_where_clean(table, INTERACTIONS), malformed, table.num_rows + malformed.num_rows)

    def products(self) -> pa.Table:
        """The catalogue file, or the products that events name; all canonical columns."""
        table = self._entities(PRODUCTS)
        if "available" not in table.column_names:
            table = table.append_column("available", pa.repeat(pa.scalar(True), table.num_rows))
        return _with_optional_columns(table, PRODUCTS)

    def users(self) -> pa.Table:
        """The users file, or the users that events name; all canonical columns."""
        return _with_optional_columns(self._entities(USERS), USERS)

    def _layout(self) -> Layout:
        return find_layout(self._folder)

    def _events(self, files: tuple[SourceFile, ...]) -> EventsByDay:
        if self._log is None or self._log[0] != files:
            rows = read_tables(self._folder, files, INTERACTIONS)
            self._log = (files, EventsByDay.cut(rows.table, rows.malformed, self._folder.label(files[0].name)))
        return self._log[1]

    def _read_drop(self, day: date, files: tuple[SourceFile, ...]) -> Rows:
        if not files:
            raise SourceError(
                f"{self._folder.uri}: the folder of {day} holds no .csv, .csv.gz or .parquet file; deliver the day, or "
                "delete its folder if there was no data"
            )
        return read_tables(self._folder, files, INTERACTIONS)

    def _entities(self, contract: TableContract) -> pa.Table:
        files = _table_files(self._folder, contract.name)
        if not files:
            return self._ids_in_events(contract)
        rows = read_tables(self._folder, files, contract)
        if rows.malformed.num_rows:
            first = rows.malformed.slice(0, 1).to_pylist()[0]
            raise SourceError(
                f"{self._folder.label(first['source_file'])}: {rows.malformed.num_rows} malformed row(s), the first is "
                f"row {first['source_row']} ({first['reason']}: {first['raw']}); repair them and deliver the file again"
            )
        return cast_where_clean(rows.table, contract)

    def _ids_in_events(self, contract: TableContract) -> pa.Table:
        (key,) = contract.required
        layout = self._layout()
        if layout.by_day:
            tables = [self._read_drop(day, files).table for day, files in layout.by_day.items()]
        else:
            tables = [self._events(layout.whole).rows]
        ids = [pc.unique(table[key].cast(pa.string())) for table in tables if key in table.column_names]
        if not ids:
            raise SourceError(
                f"{self._folder.uri}: neither {contract.name} nor a column {key} in the interactions; add one"
            )
        known = pc.unique(pa.chunked_array(ids)).drop_null()
        return pa.table({key: known.take(pc.sort_indices(known))})


def find_layout(folder: Folder) -> Layout:
    """The one layout of interactions that ``folder`` holds.

    Raises:
        SourceError: none, more than one, two drops for one day, or an impossible day.
    """
    files, folders = folder.entries()
    candidates: dict[str, Callable[[], Layout]] = {}
    for file in files:
        if stem_of(file.name) == "interactions":
            candidates[file.name] = lambda file=file: Layout({}, (file,))  # type: ignore[misc]
    if "interactions" in folders:
        candidates["interactions/"] = lambda: _inner_layout(folder, "interactions")
    top = daily_files(folder, files, TABLE_SUFFIXES)
    if top:
        candidates[f"{next(iter(top.values())).name} ..."] = lambda: Layout({d: (f,) for d, f in top.items()}, ())
    hive = [name for name in folders if name.startswith("date=") and day_in_name(name)]
    if hive:
        candidates[f"{hive[0]}/ ..."] = lambda: _inner_layout(folder, "")
    if not candidates:
        raise SourceError(f"{folder.uri}: no interactions; looked for {LAYOUT}")
    if len(candidates) > 1:
        raise SourceError(
            f"{folder.uri}: interactions in more than one layout ({', '.join(candidates)}); keep one of them"
        )
    return next(iter(candidates.values()))()


def _inner_layout(folder: Folder, under: str) -> Layout:
    """The layout inside a folder of interactions: Hive days, files named by day, or files to be cut by day."""
    files, folders = folder.entries(under, recursive=True)
    tables = [file for file in files if stem_of(file.name) is not None]
    if not under:
        tables = [file for file in tables if file.name.startswith("date=")]
    hive = {file: _hive_day(file.name) for file in tables}
    in_hive = [file for file, day in hive.items() if day]
    named = [file for file in tables if not hive[file] and day_in_name(stem_of(file.base_name) or "")]
    loose = [file for file in tables if not hive[file] and file not in named]
    kinds = [kind for kind in (in_hive, named, loose) if kind]
    where = folder.label(under)
    if not kinds:
        raise SourceError(f"{where}: holds no .csv, .csv.gz or .parquet file; deliver the interactions there")
    if len(kinds) > 1:
        raise SourceError(
            f"{where}: {kinds[0][0].name} and {kinds[1][0].name} mix two layouts; use folders date=YYYY-MM-DD/, or "
            "files named YYYY-MM-DD, or files of any name, and only one of the three"
        )
    if in_hive:
        by_day: dict[date, list[SourceFile]] = {
            parse_day(text, folder.label(name)): [] for name in folders if (text := _hive_day(name))
        }
        for file in in_hive:
            by_day.setdefault(parse_day(hive[file] or "", folder.label(file.name)), []).append(file)
        return Layout({day: tuple(by_day[day]) for day in sorted(by_day)}, ())
    if named:
        return Layout({day: (file,) for day, file in daily_files(folder, named, TABLE_SUFFIXES).items()}, ())
    return Layout({}, tuple(loose))


def _hive_day(name: str) -> str | None:
    parts = [part for part in name.split("/") if part.startswith("date=")]
    return day_in_name(parts[0]) if parts else None


def _table_files(folder: Folder, table: str) -> tuple[SourceFile, ...]:
    files, folders = folder.entries()
    found = [file for file in files if stem_of(file.name) == table]
    if table in folders:
        found += [file for file in folder.entries(table, recursive=True)[0] if stem_of(file.name) is not None]
    if len({file.name.partition("/")[0] for file in found}) > 1:
        raise SourceError(f"{folder.uri}: {' and '.join(file.name for file in found)} are both {table}; keep one")
    return tuple(found)


def _with_optional_columns(table: pa.Table, contract: TableContract) -> pa.Table:
    columns = {}
    for field in contract.schema:
        if field.name in table.column_names:
            columns[field.name] = table[field.name]
        elif field.name not in contract.required:
            columns[field.name] = pa.nulls(table.num_rows, field.type)
    return pa.table(columns)


def fits(folder: Folder) -> bool:
    """Whether ``folder`` looks like a canonical export."""
    files, folders = folder.entries()
    daily = daily_files(folder, files, TABLE_SUFFIXES)
    return (
        any(stem_of(file.name) == "interactions" for file in files)
        or "interactions" in folders
        or any(name.startswith("date=") and day_in_name(name) for name in folders)
        or any(file.name.endswith(".parquet") for file in daily.values())
        or any(set(INTERACTIONS.required) & header for header in headers(folder, daily))
    )
