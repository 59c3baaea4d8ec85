"""Live events as a source: what the API recorded becomes training data, beside the shop's own export or in its place.

The stream's files hold events by the day they arrived; training needs them by the day they happened. So every file is
read once, and again when it has grown, and its events are staged in the lake by their own day. A late event lands in an
old day, whose fingerprint then differs from the stored one, and the day is made anew (`stale_days`).

An event that stands in the export and in the stream counts once. It is the same event if the ids are equal, or if
shopper, product and kind are and the times differ by `SAME_EVENT_S` at most; every export row matches one stream row.
The export's row stays and takes the request id and variant of the other.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lambda_api.state.history import StoredEvent
from recsys_assets.event_stream import StreamFile, arrival_day, event_of, read_file, stream_files
from recsys_assets.ingest.source import DayOfEvents, Source
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.schema import INTERACTIONS, SET_ASIDE_SCHEMA

SAME_EVENT_S: Final = 300
STAGED: Final = "stream_events"
UNREADABLE: Final = "stream_unreadable"
INDEX: Final = "stream_index.json"
FINGERPRINT: Final = b"recsys_stream"

COUNTED_ONCE: Final = "also in the export, counted once"
NOT_AN_EVENT: Final = "unreadable line of the event stream"

Mode = Literal["export", "stream", "both"]


@dataclass(frozen=True)
class StreamStage:
    """The stream's feedback by the day it happened, as parts in the lake.

    Attributes:
        root: of the stream's folders.
    """

    lake: Lake
    root: str

    def refresh(self) -> int:
        """Stage the files that are new or have grown; gives their number. May be interrupted and repeated."""
        known, changed = self._index(), 0
        for file in stream_files(self.root, "feedback"):
            if known.get(file.name) == file.stamp:
                continue
            self._stage(file)
            known[file.name] = file.stamp
            changed += 1
        if changed:
            self._write_index(known)
        return changed

    def days(self) -> list[date]:
        """Days with staged events or unreadable lines, ascending."""
        return sorted({*self.lake.days(STAGED), *self.lake.days(UNREADABLE)})

    def read(self, day: date) -> pa.Table:
        """Events of one day, every id once, oldest first; `INTERACTIONS` columns."""
        parts = self.lake.read_parts(STAGED, day)
        if not parts:
            return INTERACTIONS.schema.empty_table()
        table = pa.concat_tables(parts).sort_by([("timestamp", "ascending"), ("interaction_id", "ascending")])
        numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
        first = numbered.group_by("interaction_id").aggregate([("row", "min")])["row_min"]
        return table.take(pa.array(sorted(first.to_pylist()), pa.int64()))

    def unreadable(self, day: date) -> pa.Table:
        """Lines that arrived on ``day`` and are no events; `SET_ASIDE_SCHEMA`."""
        parts = self.lake.read_parts(UNREADABLE, day)
        return pa.concat_tables(parts) if parts else SET_ASIDE_SCHEMA.empty_table()

    def fingerprint(self, day: date) -> str:
        """Changes when events of ``day`` are added."""
        parts = [*self.lake.part_sizes(STAGED, day), *self.lake.part_sizes(UNREADABLE, day)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def arrived(self, day: date, oldest: date) -> dict[date, int]:
        """Rows of the files that arrived on ``day``, by the day on which they happened, from ``oldest`` on.

        Only footers of staged parts are read. An event that arrived twice counts twice.
        """
        parts = {f"{_part(name)}.parquet" for name in self._index() if arrival_day(name) == day}
        filesystem, root = open_filesystem(self.lake.root)
        found: dict[date, int] = {}
        for happened in self.lake.days(STAGED):
            if oldest <= happened <= day:
                own = [name for name, _ in self.lake.part_sizes(STAGED, happened) if name in parts]
                paths = [f"{root}/{STAGED}/date={happened.isoformat()}/{name}" for name in own]
                rows = sum(pq.read_metadata(path, filesystem=filesystem).num_rows for path in paths)
                if rows:
                    found[happened] = int(rows)
        return found

    def is_stale(self, day: date) -> bool:
        """Whether events of ``day``, which the lake holds, have arrived since it was made."""
        metadata = self.lake.day_metadata("raw_interactions", day)
        return bool(metadata.get(FINGERPRINT, b"").decode() != self.fingerprint(day))

    def _stage(self, file: StreamFile) -> None:
        part = _part(file.name)
        days: dict[date, list[dict[str, Any]]] = defaultdict(list)
        broken = []
        for number, (line, record) in enumerate(read_file(self.root, file), start=1):
            event = event_of(record)
            if event is None:
                broken.append(
                    {"source_file": file.name, "source_row": number, "reason": NOT_AN_EVENT, "raw": line.strip()[:1000]}
                )
            else:
                days[datetime.fromtimestamp(event.timestamp, UTC).date()].append(_row(event))
        for day, rows in sorted(days.items()):
            self.lake.write_part(STAGED, day, part, pa.Table.from_pylist(rows, INTERACTIONS.schema))
        if broken:
            self.lake.write_part(UNREADABLE, file.day, part, pa.Table.from_pylist(broken, SET_ASIDE_SCHEMA))

    def _index(self) -> dict[str, str]:
        filesystem, root = open_filesystem(self.lake.root)
        try:
            with filesystem.open_input_stream(f"{root}/{INDEX}") as stream:
                found: dict[str, str] = json.loads(stream.read())
                return found
        except FileNotFoundError:
            return {}

    def _write_index(self, known: dict[str, str]) -> None:
        self.lake.write_file(INDEX, json.dumps(known, sort_keys=True).encode())


@dataclass(frozen=True)
class LiveSource:
    """The shop's export, the event stream, or both, as one source. Catalogue and users are the export's.

    Attributes:
        mode: which log is authoritative: ``stream``: the stream alone; ``both``: the two joined.
    """

    export: Source
    stage: StreamStage
    mode: Mode

    @property
    def name(self) -> str:
        """See `Source`."""
        return self.export.name if self.mode == "export" else f"{self.export.name}+stream"

    def days(self) -> list[date]:
        """See `Source`; stages what has arrived."""
        self.stage.refresh()
        offered = [] if self.mode == "stream" else self.export.days()
        return sorted({*offered, *self.stage.days()})

    def read_day(self, day: date) -> DayOfEvents:
        """See `Source`."""
        fingerprint = self.stage.fingerprint(day)
        live, broken = self.stage.read(day), self.stage.unreadable(day)
        exported = None
        if self.mode == "both" and day in set(self.export.days()):
            exported = self.export.read_day(day)
        if exported is None:
            rows, aside, read = live, broken, live.num_rows + broken.num_rows
        else:
            around = [self._edge(day, live, step) for step in (-1, 1)]
            rows, twice = joined(exported.interactions, live, [one for one in around if one is not None])
            aside = pa.concat_tables([exported.set_aside, broken, _set_aside(live, twice, day)])
            read = exported.rows_read + live.num_rows + broken.num_rows
        marked = rows.replace_schema_metadata({**(rows.schema.metadata or {}), FINGERPRINT: fingerprint.encode()})
        return DayOfEvents(marked, aside, read)

    def products(self) -> pa.Table:
        """See `Source`."""
        return self.export.products()

    def users(self) -> pa.Table:
        """See `Source`."""
        return self.export.users()

    def _edge(self, day: date, live: pa.Table, step: int) -> pa.Table | None:
        """The export's neighbouring day, where a live event lies so near to midnight that its twin may be there."""
        seconds = _seconds(live)
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        near = [
            at for at in seconds if (at - start < SAME_EVENT_S if step < 0 else start + 86_400 - at <= SAME_EVENT_S)
        ]
        neighbour = day + timedelta(days=step)
        return self.export.read_day(neighbour).interactions if near and neighbour in set(self.export.days()) else None


def joined(exported: pa.Table, live: pa.Table, around: Iterable[pa.Table] = ()) -> tuple[pa.Table, list[int]]:
    """Export rows and those live rows that no export row stands for.

    Args:
        exported: one day; any canonical columns.
        live: the same day of the stream, `INTERACTIONS` columns.
        around: export rows of the neighbouring days, which may stand for live rows near midnight.

    Returns:
        The joined table, and the rows of ``live`` that were left out because they are in the export.
    """
    places = _Places(exported)
    for neighbour in around:
        places.add(neighbour, None)
    request_ids = _column(exported, "request_id")
    variants = _column(exported, "variant")
    kept, twice = [], []
    for row, event in enumerate(live.to_pylist()):
        place = places.take(event)
        if place is _NOWHERE:
            kept.append(row)
            continue
        twice.append(row)
        if isinstance(place, int):
            request_ids[place] = request_ids[place] or event["request_id"]
            variants[place] = variants[place] or event["variant"]
    for name, values in (("request_id", request_ids), ("variant", variants)):
        column = pa.array(values, pa.string())
        at = exported.schema.get_field_index(name)
        exported = exported.append_column(name, column) if at < 0 else exported.set_column(at, name, column)
    return pa.concat_tables(
        [exported, _as_columns_of(exported, live.take(pa.array(kept, pa.int64())))], promote_options="permissive"
    ), twice


_NOWHERE: Final = object()


class _Places:
    """Rows of an export by id, and by shopper, product and kind in order of time; each is taken once."""

    def __init__(self, exported: pa.Table) -> None:
        self._by_id: dict[str, int | None] = {}
        self._by_what: dict[tuple[str, str, str], list[tuple[int, int | None]]] = defaultdict(list)
        self.add(exported, 0)

    def add(self, table: pa.Table, first: int | None) -> None:
        """Rows of ``table``; their places count from ``first``, ``None``: they belong to another day."""
        names = ("interaction_id", "user_id", "product_id", "interaction_type")
        columns = [table[name].cast(pa.string()).to_pylist() for name in names]
        for row, (id_, user, product, kind, at) in enumerate(zip(*columns, _seconds(table), strict=True)):
            place = None if first is None else first + row
            self._by_id[id_] = place
            self._by_what[user, product, kind].append((at, place))

    def take(self, event: dict[str, Any]) -> Any:
        """The place of the row that is this event (``None``: on another day), or `_NOWHERE`."""
        if event["interaction_id"] in self._by_id:
            return self._by_id.pop(event["interaction_id"])
        rows = self._by_what.get((event["user_id"], event["product_id"], event["interaction_type"]), [])
        at = int(event["timestamp"].timestamp())
        near = [found for found in rows if abs(found[0] - at) <= SAME_EVENT_S]
        if not near:
            return _NOWHERE
        found = min(near, key=lambda one: abs(one[0] - at))
        rows.remove(found)
        return found[1]


def stale_days(source: Source, lake: Lake) -> list[date]:
    """Stored days of which events have arrived since; none for a source without a stream."""
    if not isinstance(source, LiveSource):
        return []
    source.stage.refresh()
    stored = sorted(set(source.stage.days()) & set(lake.days("raw_interactions")))
    return [day for day in stored if source.stage.is_stale(day)]


def _part(name: str) -> str:
    """Name of the staged parts of a file of the stream."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _row(event: StoredEvent) -> dict[str, Any]:
    return {
        "interaction_id": event.event_id,
        "user_id": event.user_id,
        "product_id": event.product_id,
        "interaction_type": event.interaction_type.label,
        "timestamp": datetime.fromtimestamp(event.timestamp, UTC),
        "rating": event.rating,
        "price": event.price,
        "quantity": None if event.quantity is None else float(event.quantity),
        "request_id": event.request_id,
        "variant": event.variant,
    }


def _seconds(table: pa.Table) -> list[int]:
    """Times in whole seconds since 1970 UTC; a time that is not readable yet (still text) is 0 and matches nothing."""
    column = table["timestamp"]
    if not pa.types.is_timestamp(column.type):
        return [0] * table.num_rows
    seconds = pc.floor_temporal(column.cast(pa.timestamp("us", tz="UTC")), unit="second")
    return [int(one) for one in seconds.cast(pa.timestamp("s", tz="UTC")).cast(pa.int64()).fill_null(0).to_pylist()]


def _column(table: pa.Table, name: str) -> list[str | None]:
    return list(table[name].to_pylist()) if name in table.column_names else [None] * table.num_rows


def _as_columns_of(exported: pa.Table, live: pa.Table) -> pa.Table:
    """``live`` with those columns as text that the export holds as text, because a value of it cannot be read."""
    for field in exported.schema:
        at = live.schema.get_field_index(field.name)
        if at >= 0 and pa.types.is_string(field.type) and not pa.types.is_string(live.schema.field(at).type):
            live = live.set_column(at, field.name, live.column(at).cast(pa.string()))
    return live


def _set_aside(live: pa.Table, rows: list[int], day: date) -> pa.Table:
    raws = [
        json.dumps(row, default=str, ensure_ascii=False) for row in live.take(pa.array(rows, pa.int64())).to_pylist()
    ]
    columns = [[f"event stream {day}"] * len(rows), rows, [COUNTED_ONCE] * len(rows), raws]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, SET_ASIDE_SCHEMA, strict=True)],
        schema=SET_ASIDE_SCHEMA,
    )
