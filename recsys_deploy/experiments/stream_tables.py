"""The event stream as two daily tables that looks and reports read: a row per list, and a row per event.

``experiment_lists`` says who got which list of which experiment, revision and variant when, how it was made, and who
placed what in it; ``experiment_events`` what shoppers did. A day is the UTC day on which a file arrived. Its tables are
made from the stream when a look first needs them, stored in the lake once the day is over, and made again when files of
the day have arrived or grown since. Totals of a shopper are no part of them: a shopper's window begins and ends within
days, and its length is the plan's.

Delivery is at least once: `once` takes each request and each event once.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lambda_api.settings import Settings
from lambda_api.state.event_sink import Kind
from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent
from recsys_assets.event_stream import (
    FINGERPRINT,
    StreamFile,
    by_day,
    event_of,
    events_root,
    exposure_of,
    fingerprint,
    marked,
    read_file,
    stream_files,
)
from recsys_assets.lake import Lake, open_filesystem

log = logging.getLogger(__name__)

LISTS_TABLE: Final = "experiment_lists"
EVENTS_TABLE: Final = "experiment_events"

LISTS: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("at_ms", pa.int64()),
        ("list_kind", pa.string()),
        ("experiment", pa.string()),
        ("revision", pa.int64()),
        ("variant", pa.string()),
        ("share", pa.float64()),
        ("model_version", pa.string()),
        ("stage", pa.string()),
        ("cause", pa.string()),
        ("latency_ms", pa.float64()),
        ("products", pa.list_(pa.string())),
        ("teams", pa.list_(pa.string())),
    ]
)
"""A row per list of kind recommend or shadow. ``at_ms``: milliseconds since 1970 UTC; ``share``: of the variant;
``cause``: empty where nothing failed; ``teams``: of an interleaved list the version that placed each product."""

EVENTS: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.string()),
        ("at", pa.int64()),
        ("kind", pa.string()),
        ("request_id", pa.string()),
        ("product_id", pa.string()),
        ("revenue", pa.float64()),
    ]
)
"""A row per event. ``at``: seconds since 1970 UTC; ``request_id``: of the list that it answers, or null."""


def lists_table(exposures: Iterable[Exposure]) -> pa.Table:
    """Rows of `LISTS`, in the order given."""
    return _table([_list_row(one) for one in exposures if one.list_kind in ("recommend", "shadow")], LISTS)


def events_table(events: Iterable[StoredEvent]) -> pa.Table:
    """Rows of `EVENTS`, in the order given."""
    return _table([_event_row(one) for one in events], EVENTS)


def once(table: pa.Table, column: str) -> pa.Table:
    """The first row of each value of ``column``, in the order of the table."""
    codes = table[column].combine_chunks().dictionary_encode()
    if len(codes.dictionary) == table.num_rows:
        return table
    _, first = np.unique(codes.indices.to_numpy(zero_copy_only=False), return_index=True)
    return table.take(np.sort(first))


@dataclass(frozen=True)
class StreamTables:
    """Reads both tables.

    Attributes:
        root: of the event stream, a folder or ``s3://`` prefix.
        lake: where days that are over are stored; ``None``: nowhere, every reading makes them anew.
    """

    root: str
    lake: Lake | None = None

    def lists(self, first: date, shown_ms: tuple[int, int] | None = None) -> pa.Table:
        """Lists that arrived from the UTC day ``first`` on.

        Args:
            shown_ms: only those shown from (inclusive) to (exclusive), milliseconds since 1970 UTC.

        Raises:
            OSError: the stream cannot be read.
        """
        kept = None if shown_ms is None else (pc.field("at_ms") >= shown_ms[0]) & (pc.field("at_ms") < shown_ms[1])
        days = self._days("exposure", LISTS_TABLE, first, lambda files: lists_table(self._of(files, exposure_of)))
        return pa.concat_tables([LISTS.empty_table(), *(day if kept is None else day.filter(kept) for day in days)])

    def events(self, first: date) -> pa.Table:
        """Events that arrived from the UTC day ``first`` on. Raises ``OSError`` where the stream cannot be read."""
        days = self._days("feedback", EVENTS_TABLE, first, lambda files: events_table(self._of(files, event_of)))
        return pa.concat_tables([EVENTS.empty_table(), *days])

    def _of(self, files: list[StreamFile], read: Callable[[Any], Any]) -> Iterable[Any]:
        records = (read(record) for file in files for _, record in read_file(self.root, file))
        return (one for one in records if one is not None)

    def _days(
        self, kind: Kind, name: str, first: date, make: Callable[[list[StreamFile]], pa.Table]
    ) -> Iterator[pa.Table]:
        stored = set() if self.lake is None else set(self.lake.days(name))
        for day, files in sorted(by_day(stream_files(self.root, kind, first)).items()):
            yield self._day(name, day, files, day in stored, make)

    def _day(
        self,
        name: str,
        day: date,
        files: list[StreamFile],
        is_stored: bool,
        make: Callable[[list[StreamFile]], pa.Table],
    ) -> pa.Table:
        stamp = fingerprint((file.name, file.stamp) for file in files)
        if self.lake is not None and is_stored:
            filesystem, base = open_filesystem(self.lake.root)
            with pq.ParquetFile(f"{base}/{name}/date={day.isoformat()}/part-0.parquet", filesystem=filesystem) as file:
                if (file.schema_arrow.metadata or {}).get(FINGERPRINT, b"").decode() == stamp:
                    return file.read().replace_schema_metadata(None)
        made = make(files)
        if self.lake is not None and day < datetime.now(UTC).date():
            try:
                self.lake.write_day(name, day, marked(made, stamp))
            except OSError as error:  # a look must not fail for it: the next one makes the day again
                log.warning("%s of %s was not stored: %s", name, day, error)
        return made


def open_stream_tables(settings: Settings) -> StreamTables:
    """The tables of a shop's event stream, stored in its lake."""
    return StreamTables(events_root(settings), Lake(settings.lake_uri))


def _list_row(one: Exposure) -> tuple[Any, ...]:
    teams = [item.team for item in one.items]
    return (
        one.request_id,
        one.user_id,
        one.at_ms,
        one.list_kind,
        one.experiment,
        one.revision,
        one.variant,
        one.variant_propensity,
        one.model_version,
        one.stage,
        one.cause or "",
        one.latency_ms,
        [item.product_id for item in one.items],
        teams if any(teams) else None,
    )


def _event_row(one: StoredEvent) -> tuple[Any, ...]:
    return (
        one.event_id,
        one.user_id,
        one.timestamp,
        one.interaction_type.label,
        one.request_id,
        one.product_id,
        (one.price or 0.0) * (one.quantity or 1),
    )


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)
