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
from itertools import repeat
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lambda_api.state.history import StoredEvent
from recsys_assets.event_stream import (
    FINGERPRINT,
    StreamFile,
    arrival_day,
    event_of,
    fingerprint,
    marked,
    read_file,
    stream_files,
)
from recsys_assets.ingest.columns import is_text
from recsys_assets.ingest.derived import first_of_each
from recsys_assets.ingest.source import DayOfEvents, Source
from recsys_assets.ingest.tabular import set_aside_rows
from recsys_assets.lake import Lake, midnight, open_filesystem
from recsys_assets.schema import INTERACTIONS, SET_ASIDE_SCHEMA, with_column

SAME_EVENT_S: Final = 300
STAGED: Final = "stream_events"
UNREADABLE: Final = "stream_unreadable"
INDEX: Final = "stream_index.json"

COUNTED_ONCE: Final = "also in the export, counted once"
NOT_AN_EVENT: Final = "unreadable line of the event stream"

_OTHER_DAY: Final = -1
"""In place of a row of the export: the row is that of another day."""

Mode = Literal["stream", "both"]


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
            self.lake.write_file(INDEX, json.dumps(known, sort_keys=True).encode())
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
        return first_of_each(table, "interaction_id")

    def unreadable(self, day: date) -> pa.Table:
        """Lines that arrived on ``day`` and are no events; `SET_ASIDE_SCHEMA`."""
        parts = self.lake.read_parts(UNREADABLE, day)
        return pa.concat_tables(parts) if parts else SET_ASIDE_SCHEMA.empty_table()

    def fingerprint(self, day: date) -> str:
        """Changes when events of ``day`` are added."""
        return fingerprint([*self.lake.part_sizes(STAGED, day), *self.lake.part_sizes(UNREADABLE, day)])

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
        return f"{self.export.name}+stream"

    def days(self) -> list[date]:
        """See `Source`; stages what has arrived."""
        self.stage.refresh()
        offered = [] if self.mode == "stream" else self.export.days()
        return sorted({*offered, *self.stage.days()})

    def read_day(self, day: date) -> DayOfEvents:
        """See `Source`."""
        # Read before the parts are: what arrives meanwhile makes the day stale again.
        now = self.stage.fingerprint(day)
        live, aside = self.stage.read(day), self.stage.unreadable(day)
        rows, read = live, live.num_rows + aside.num_rows
        if self.mode == "both" and day in set(self.export.days()):
            exported = self.export.read_day(day)
            around = [self._edge(day, live, step) for step in (-1, 1)]
            rows, twice = joined(exported.interactions, live, [one for one in around if one is not None])
            raw = live.take(pa.array(twice, pa.int64())).to_pylist()
            known = set_aside_rows(f"event stream {day}", zip(twice, repeat(COUNTED_ONCE), raw, strict=False))
            aside = pa.concat_tables([exported.set_aside, aside, known])
            read += exported.rows_read
        return DayOfEvents(marked(rows, now), aside, read)

    def products(self) -> pa.Table:
        """See `Source`."""
        return self.export.products()

    def users(self) -> pa.Table:
        """See `Source`."""
        return self.export.users()

    def _edge(self, day: date, live: pa.Table, step: int) -> pa.Table | None:
        """The export's neighbouring day, where a live event lies so near to midnight that its twin may be there."""
        start = int(midnight(day).timestamp())
        away = [at - start if step < 0 else start + 86_399 - at for at in _seconds(live)]
        neighbour = day + timedelta(days=step)
        if min(away, default=SAME_EVENT_S) >= SAME_EVENT_S or neighbour not in set(self.export.days()):
            return None
        return self.export.read_day(neighbour).interactions


def joined(exported: pa.Table, live: pa.Table, around: Iterable[pa.Table] = ()) -> tuple[pa.Table, list[int]]:
    """Export rows and those live rows that no export row stands for.

    Args:
        exported: one day; any canonical columns.
        live: the same day of the stream, `INTERACTIONS` columns.
        around: export rows of the neighbouring days, which may stand for live rows near midnight.

    Returns:
        The joined table, and the rows of ``live`` that were left out because they are in the export.
    """
    by_id: dict[str, int] = {}
    by_what: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for number, table in enumerate((exported, *around)):
        names = ("interaction_id", "user_id", "product_id", "interaction_type")
        columns = [table[name].cast(pa.string()).to_pylist() for name in names]
        for row, (id_, user, product, kind, at) in enumerate(zip(*columns, _seconds(table), strict=True)):
            place = _OTHER_DAY if number else row
            by_id[id_] = place
            by_what[user, product, kind].append((at, place))
    known = {
        name: exported[name].to_pylist() if name in exported.column_names else [None] * exported.num_rows
        for name in ("request_id", "variant")
    }
    kept, twice = list[int](), list[int]()
    for row, event in enumerate(live.to_pylist()):
        twin = _take_twin(event, by_id, by_what)
        (kept if twin is None else twice).append(row)
        if twin is not None and twin != _OTHER_DAY:
            for name, values in known.items():
                values[twin] = values[twin] or event[name]
    for name, values in known.items():
        exported = with_column(exported, name, pa.array(values, pa.string()))
    rest = live.take(pa.array(kept, pa.int64()))
    for field in exported.schema:
        # A column of the export stays text when one of its values cannot be read.
        if is_text(field.type) and field.name in rest.column_names:
            rest = with_column(rest, field.name, rest[field.name].cast(pa.string()))
    return pa.concat_tables([exported, rest], promote_options="permissive"), twice


def _take_twin(
    event: dict[str, Any], by_id: dict[str, int], by_what: dict[tuple[str, str, str], list[tuple[int, int]]]
) -> int | None:
    """The export row that is this event, taken out of the two indices; `_OTHER_DAY`; ``None`` where there is none."""
    if event["interaction_id"] in by_id:
        return by_id.pop(event["interaction_id"])
    rows = by_what.get((event["user_id"], event["product_id"], event["interaction_type"]), [])
    at = int(event["timestamp"].timestamp())
    nearest = min(rows, key=lambda one: abs(one[0] - at), default=None)
    if nearest is None or abs(nearest[0] - at) > SAME_EVENT_S:
        return None
    rows.remove(nearest)
    return nearest[1]


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
