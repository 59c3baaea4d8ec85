"""Shoppers' events while serving: recording, and the newest events of one shopper in one query.

Layout of the table ``history``, all keys hashed (`lambda_api.state.addressing.digest`):

========================  =========================================  ==============================================
partition                 sort                                       record
========================  =========================================  ==============================================
``user#<digest>``         ``<timestamp>#<arrival>#<place>#<event>``  one event recorded while serving
``user#<digest>``         ``~seed``                                  the newest events from the pipeline, packed
``event#<digest>``        ``marker``                                 this event id has been recorded
``forget``                ``<digest>``                               this shopper is to be removed everywhere
========================  =========================================  ==============================================

``~`` sorts above every digit, so one query gives the packed events and the newest ``limit`` others, newest first.
Events of one second are ordered by arrival, then by place in the batch: a view stays before the cart event after it.
Late events are placed by their timestamp. The whole interaction log is in ``recsys_assets.lake``.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_api.errors import RecsysError
from lambda_api.interactions import Event, InteractionType
from lambda_api.state.addressing import MalformedRecord, check_text, digest
from lambda_api.state.batches import transactions
from lambda_api.state.encoding import MAX_WRITES
from lambda_api.state.table import Absent, ConditionFailed, Delete, Key, Put, Record, Table, Write

CLOCK_TOLERANCE_S = 300
MILLISECONDS_FROM = 10**11
"""Later times are taken for milliseconds: as seconds it is the year 5138, as milliseconds the year 1973."""
MAX_SEEDED = 200
"""Maximum number of packed events per shopper; the default limit of `HistoryStore.recent`."""

_SEED = "~seed"
_REMOVALS = "forget"
_MAX_SEED_BYTES = 300 * 1024  # of DynamoDB's 400 KB; leaves room for the user id and JSON's escapes
_MAX_TIMESTAMP = 10**12 - 1  # twelve digits in the key: until the year 33,658
_ID_DIGITS = 32


class TimestampRefused(RecsysError, ValueError):
    """An event's time lies too far in the future, or before 1970."""


def accepted_timestamp(timestamp: int | None, now: int) -> int:
    """The time stored for an event that arrives at ``now`` (all in seconds since 1970 UTC).

    Without a timestamp: ``now``. Up to five minutes in the future: ``now``, because shoppers' clocks may be fast by
    minutes, and a click must count in the next list. Further ahead is a mistake of unit or time zone and is refused,
    since such an event would stay the newest. Late events are accepted with their time.

    Raises:
        TimestampRefused: more than ``CLOCK_TOLERANCE_S`` ahead, or negative; the message is for the sender.
    """
    if timestamp is None:
        return now
    if timestamp < 0:
        raise TimestampRefused("timestamp must be in seconds since 1970 UTC, at least 0")
    if timestamp > now + CLOCK_TOLERANCE_S:
        if timestamp > MILLISECONDS_FROM:
            raise TimestampRefused("timestamp looks like milliseconds; give seconds since 1970 UTC")
        raise TimestampRefused(
            f"timestamp lies {timestamp - now} s in the future; at most {CLOCK_TOLERANCE_S} s are accepted. "
            "It counts seconds since 1970 UTC"
        )
    return min(timestamp, now)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One interaction as it is recorded. ``timestamp`` is in seconds since 1970 UTC.

    ``event_id`` is the sender's and unique across users; ``request_id`` names the recommendation that led here.
    """

    event_id: str
    user_id: str
    product_id: str
    interaction_type: InteractionType
    timestamp: int
    rating: float | None = None
    price: float | None = None
    quantity: int | None = None
    request_id: str | None = None
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """Event ids of a batch in its order: newly recorded, and recorded before or repeated within the batch."""

    accepted: tuple[str, ...]
    duplicates: tuple[str, ...]


class HistoryStore:
    """Shoppers' events in the table ``history``.

    Args:
        table: the table port.
        ttl_days: how long events, markers and packed events are kept after their arrival. Markers live as long as
            events, so a repetition of a readable event is always recognised.
        clock: seconds since 1970 UTC.
    """

    def __init__(self, table: Table, *, ttl_days: int = 400, clock: Callable[[], float] = time.time) -> None:
        if ttl_days < 1:
            raise ValueError(f"ttl_days must be at least 1, is {ttl_days}")
        self._table = table
        self._ttl_s = ttl_days * 86_400
        self._clock = clock

    def recent(self, user_id: str, limit: int = 200) -> tuple[Event, ...]:
        """The newest ``limit`` events of one shopper, oldest first, in one query; empty for a stranger.

        Recorded and packed events are merged by timestamp (packed ones first within a second); an event that is in
        both counts once.

        Raises:
            MalformedRecord: a record of this shopper was written by other means.
            TableUnavailable: the table could not be asked.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, is {limit}")
        records = self._table.query(_user_partition(user_id), newest_first=True, limit=limit + 1)
        packed = _unpack(records.pop(0)) if records and records[0].key.sort == _SEED else []
        live = [_read_event(record) for record in reversed(records)]
        if packed:
            recorded = {record.key.sort.rpartition("#")[2] for record in records}
            live = [event for identifier, event in packed if identifier not in recorded] + live
            live.sort(key=lambda event: event.timestamp)  # stable: keeps the order within a second
        return tuple(live[-limit:])

    def record(self, events: Sequence[StoredEvent]) -> RecordOutcome:
        """Record all new events durably.

        Idempotent by event id, across users, batches and processes: marker and event are written together, on condition
        that there is no marker. Of two events with one id the first counts. Up to 50 events are one transaction; when a
        later transaction fails, earlier ones stay: send all again.

        Raises:
            ValueError: an id or time that cannot be stored (`check_event`); nothing was written.
            TableUnavailable: the table failed; some events may be recorded: send all again.
        """
        for event in events:
            check_event(event)
        first: dict[str, int] = {}
        for place, event in enumerate(events):
            first.setdefault(event.event_id, place)
        writes = {place: self._event_writes(events[place], place) for place in first.values()}
        accepted: set[int] = set()
        places = list(writes)
        for start in range(0, len(places), MAX_WRITES // 2):
            accepted.update(
                self._write_new({place: writes[place] for place in places[start : start + MAX_WRITES // 2]})
            )
        return RecordOutcome(
            accepted=tuple(event.event_id for place, event in enumerate(events) if place in accepted),
            duplicates=tuple(event.event_id for place, event in enumerate(events) if place not in accepted),
        )

    def seed_many(self, histories: Mapping[str, Sequence[StoredEvent]]) -> int:
        """Store the newest 200 events of each shopper from the pipeline's log, packed into one record.

        Replaces the packed events of an earlier call and does not change recorded events; an event that is both packed
        and recorded is read once. It may be repeated. Fewer events are packed where ids are so long that 200 do not fit
        into a record. For a shopper without events the packed ones are removed.

        Returns:
            The number of shoppers that have packed events now.

        Raises:
            ValueError: an event that cannot be stored, or one that names another shopper.
            TableUnavailable: the table failed; some shoppers may be written. Call again.
        """
        written = 0
        for batch in transactions(self._pack(user_id, events) for user_id, events in histories.items()):
            self._table.write(batch)
            written += sum(isinstance(write, Put) for write in batch)
        return written

    def request_removal(self, user_id: str) -> int:
        """Remove what is kept here of one shopper, and note that the rest has to follow (``recsys forget``).

        Returns how many records of history there were. May be repeated.

        Raises:
            TableUnavailable: some may be removed; call it again.
        """
        self._table.write([Put(_removal(user_id), {"user_id": user_id, "at": int(self._clock())})])
        return self.delete(user_id)

    def removals(self) -> list[str]:
        """Shoppers who are to be removed everywhere, in no order. Raises ``TableUnavailable``."""
        return [str(record.attributes["user_id"]) for record in self._table.query(_REMOVALS)]

    def removed(self, user_id: str) -> None:
        """Note that this shopper was removed everywhere. May be repeated. Raises ``TableUnavailable``."""
        self._table.write([Delete(_removal(user_id))])

    def delete(self, user_id: str) -> int:
        """Remove everything kept of one shopper; returns how many records there were. May be repeated.

        Raises:
            TableUnavailable: some may be removed; call it again.
        """
        keys = [record.key for record in self._table.query(_user_partition(user_id))]
        for first in range(0, len(keys), MAX_WRITES):
            self._table.write([Delete(key) for key in keys[first : first + MAX_WRITES]])
        return len(keys)

    def _write_new(self, writes: dict[int, tuple[Put, Put]]) -> set[int]:
        """Write the pairs whose marker is absent; returns their places."""
        left = dict(writes)
        while left:
            try:
                self._table.write([put for pair in left.values() for put in pair])
                return set(left)
            except ConditionFailed as failure:
                known = set(failure.keys)
                left = {place: pair for place, pair in left.items() if pair[0].key not in known}
        return set()

    def _event_writes(self, event: StoredEvent, place: int) -> tuple[Put, Put]:
        now = self._clock()
        expires_at = int(now) + self._ttl_s
        identifier = digest(event.event_id)
        sort = f"{event.timestamp:012d}#{int(now * 1000):014d}#{place:05d}#{identifier[:_ID_DIGITS]}"
        attributes: dict[str, Any] = {
            "event_id": event.event_id,
            "user_id": event.user_id,
            "product_id": event.product_id,
            "interaction_type": event.interaction_type.label,
            "timestamp": event.timestamp,
        }
        for name in ("rating", "price", "quantity", "request_id", "variant"):
            value = getattr(event, name)
            if value is not None:
                attributes[name] = value
        return (
            Put(Key(f"event#{identifier}", "marker"), {"seen": int(now)}, condition=Absent(), expires_at=expires_at),
            Put(Key(_user_partition(event.user_id), sort), attributes, expires_at=expires_at),
        )

    def _pack(self, user_id: str, events: Sequence[StoredEvent]) -> tuple[list[Write], int]:
        """The write of one shopper's packed events, and an upper bound of its bytes."""
        check_text("user_id", user_id)
        if not events:
            return [Delete(Key(_user_partition(user_id), _SEED))], 0
        for event in events:
            check_event(event)
            if event.user_id != user_id:
                raise ValueError(f"event {event.event_id!r} is of user {event.user_id!r}, not of {user_id!r}")
        first: dict[str, StoredEvent] = {}
        for event in events:
            first.setdefault(event.event_id, event)
        newest = sorted(first.values(), key=lambda event: event.timestamp)[-MAX_SEEDED:]
        rows: list[list[Any]] = []
        size = 0
        for event in reversed(newest):
            row_bytes = 6 * len(event.product_id) + _ID_DIGITS + 32  # upper bound: six bytes of JSON per character
            if size + row_bytes > _MAX_SEED_BYTES and rows:
                break
            rows.append(
                [event.timestamp, int(event.interaction_type), event.product_id, digest(event.event_id)[:_ID_DIGITS]]
            )
            size += row_bytes
        rows.reverse()
        put = Put(
            Key(_user_partition(user_id), _SEED),
            {"user_id": user_id, "events": rows},
            expires_at=int(self._clock()) + self._ttl_s,
        )
        return [put], size + 6 * len(user_id) + 512


def check_event(event: StoredEvent) -> None:
    """Raises ``ValueError`` for an id that is empty or invalid Unicode, or a time before 1970 or after 33,658."""
    for name in ("event_id", "user_id", "product_id"):
        check_text(name, getattr(event, name))
    if type(event.timestamp) is not int or not 0 <= event.timestamp <= _MAX_TIMESTAMP:
        raise ValueError(f"timestamp of event {event.event_id!r} must be whole seconds since 1970 UTC")


def _removal(user_id: str) -> Key:
    return Key(_REMOVALS, digest(user_id))


def _user_partition(user_id: str) -> str:
    return f"user#{digest(user_id)}"


def _read_event(record: Record) -> Event:
    stored = record.attributes
    try:
        return Event(stored["product_id"], InteractionType.from_label(stored["interaction_type"]), stored["timestamp"])
    except (KeyError, ValueError) as error:
        raise MalformedRecord(record.key, f"{type(error).__name__}: {error}") from error


def _unpack(record: Record) -> list[tuple[str, Event]]:
    """Id digests and events of a packed record, oldest first."""
    kinds = tuple(InteractionType)
    try:
        return [
            (identifier, Event(product_id, kinds[kind], timestamp))
            for timestamp, kind, product_id, identifier in record.attributes["events"]
        ]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise MalformedRecord(record.key, f"{type(error).__name__}: {error}") from error
