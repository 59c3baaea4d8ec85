"""The inference log: which products were shown to whom, by which variant, with what probability; joins feedback.

The table ``exposures`` keeps them for 30 days by request id (hashed into the key), so that a click can be joined at
once; analysis reads the event stream.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lambda_api.state.addressing import MalformedRecord, check_text, digest
from lambda_api.state.batches import transactions
from lambda_api.state.history import StoredEvent
from lambda_api.state.table import Delete, Key, Put, Table

_SORT = "exposure"
_MAX_PART_BYTES = 200 * 1024  # of DynamoDB's 400 KB per record
_ITEM_FIELDS = ("product_id", "score", "rank", "propensity", "reason", "team")

SHARED_DEPENDENCIES = frozenset({"history", "popular", "routing", "catalogue", "event_sink", "feedback", "exposures"})
"""Dependencies of every version: when one fails, no version is to blame."""

ListKind = Literal["recommend", "similar", "popular", "shadow"]


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One product of a list. ``rank`` counts from 1; ``propensity`` is its probability at this place, ``None``
    without exploration; ``reason`` is the reason's code; ``team`` is the version that placed it in an interleaved list,
    ``None`` where both did or the list is of one version."""

    product_id: str
    score: float
    rank: int
    propensity: float | None
    reason: str
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Exposure:
    """One list that was shown.

    Attributes:
        request_id: of the recommendation; feedback names it.
        at_ms: milliseconds since 1970 UTC.
        experiment, variant: of the route; ``variant_propensity`` is the variant's share, in [0, 1].
        model_version: ``baseline`` where no model answered.
        stage: ``ranked``, ``candidates`` (without the learned ranker) or ``popular``.
        cause: failures on the way; ``None``: none.
        context: page, device and the like; a plain dict.
        revision: of the routing record that assigned the variant; 0: no record was known.
        list_kind: which kind of list. Experiments count ``recommend`` with a ``user_id`` and a model version other than
            ``baseline`` only: all other lists do not depend on the variant.
    """

    request_id: str
    user_id: str
    at_ms: int
    experiment: str
    variant: str
    variant_propensity: float
    model_version: str
    stage: str
    cause: str | None
    items: tuple[ShownItem, ...]
    context: dict[str, Any]
    latency_ms: float
    revision: int = 0
    list_kind: ListKind = "recommend"

    def to_json(self) -> dict[str, Any]:
        """A plain dict for the event stream, items as dicts too. `from_json` reads it back."""
        return {**_header(self), "items": [dict(zip(_ITEM_FIELDS, _row(item), strict=False)) for item in self.items]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Exposure":
        """Raises ``ValueError`` on missing or unknown fields."""
        try:
            return cls(**{**value, "items": tuple(ShownItem(**item) for item in value["items"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an exposure: {type(error).__name__}: {error}") from error


def is_replaced(exposure: Exposure, version: str) -> bool:
    """Whether the list is not the ranked one of ``version``, because something failed."""
    return bool(exposure.cause) and (exposure.stage != "ranked" or exposure.model_version != version)


def has_failed(exposure: Exposure, version: str) -> bool:
    """Whether the list is not the ranked one of ``version``, because its model, bundle or endpoint failed.

    Where a challenger fails, the champion answers in its place: the list is ranked, but by another version.
    """
    return is_replaced(exposure, version) and is_fault_of_version(exposure.cause)


def is_fault_of_version(cause: str | None) -> bool:
    """Whether anything in an exposure's ``cause`` is a version's own, not a dependency that every version shares."""
    names = (one.partition(":")[0].partition("/")[0] for one in (cause or "").split("; "))
    return any(name and name not in SHARED_DEPENDENCIES for name in names)


@dataclass(frozen=True, slots=True)
class JoinedItem:
    """A shown item and the shopper's events on it that name this list, oldest first; mostly none."""

    exposure: Exposure
    item: ShownItem
    events: tuple[StoredEvent, ...]


class InferenceLog:
    """Exposures in the table ``exposures``.

    Args:
        table: the table port.
        ttl_days: how long they are kept.
        clock: seconds since 1970 UTC, for their expiry.
    """

    def __init__(self, table: Table, *, ttl_days: int = 30, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._ttl_s = ttl_days * 86_400
        self._clock = clock

    def write(self, exposures: Sequence[Exposure]) -> None:
        """Store exposures; one with a known request id replaces it. May be repeated.

        One write for up to 100 exposures of ordinary size. A list that is too long for one record (very long ids) is
        split over several, and a batch too large for one transaction over several writes.

        Raises:
            ValueError: an empty request id, or a value that JSON cannot hold.
            TableUnavailable: the table failed; write them again.
        """
        expires_at = int(self._clock()) + self._ttl_s
        last = {exposure.request_id: exposure for exposure in exposures}
        for batch in transactions(_parts(exposure, expires_at) for exposure in last.values()):
            self._table.write(batch)

    def get(self, request_id: str) -> Exposure | None:
        """The exposure of a request, or ``None`` when unknown or expired; one query.

        Raises:
            MalformedRecord: the record was written by other means.
            TableUnavailable: the table could not be asked.
        """
        records = self._table.query(_partition(request_id), prefix=_SORT)
        if not records:
            return None
        first, *others = records
        try:
            header = dict(first.attributes)
            rows = header.pop("items")
            # A longer list written earlier under this id may have left more parts; ``parts`` counts the current ones.
            for record in others[: header.pop("parts") - 1]:
                rows += record.attributes["items"]
            return Exposure(**header, items=tuple(ShownItem(*row) for row in rows))
        except (KeyError, TypeError) as error:
            raise MalformedRecord(first.key, f"{type(error).__name__}: {error}") from error

    def delete(self, request_id: str) -> int:
        """Remove the exposure of a request; returns how many records there were. Raises `TableUnavailable`."""
        keys = [record.key for record in self._table.query(_partition(request_id), prefix=_SORT)]
        if keys:
            self._table.write([Delete(key) for key in keys])
        return len(keys)


def join_feedback(exposures: Iterable[Exposure], events: Iterable[StoredEvent]) -> list[JoinedItem]:
    """Every shown item with the events that name it, possibly none. Pure.

    An event belongs to an item when request id, user and product are equal. Times are not compared, because shoppers'
    clocks may be wrong by minutes. Repeated deliveries count once (exposures by request id, events by event id, the
    first of each). Order: exposures as given, items by rank, events by timestamp and then event id.
    """
    answering: dict[tuple[str, str, str], dict[str, StoredEvent]] = {}
    seen: set[str] = set()
    for event in events:
        if event.request_id is not None and event.event_id not in seen:
            seen.add(event.event_id)
            address = (event.request_id, event.user_id, event.product_id)
            answering.setdefault(address, {})[event.event_id] = event
    first: dict[str, Exposure] = {}
    for exposure in exposures:
        first.setdefault(exposure.request_id, exposure)
    joined = []
    for exposure in first.values():
        for item in sorted(exposure.items, key=lambda item: item.rank):
            found = answering.get((exposure.request_id, exposure.user_id, item.product_id), {})
            ordered = sorted(found.values(), key=lambda event: (event.timestamp, event.event_id))
            joined.append(JoinedItem(exposure, item, tuple(ordered)))
    return joined


def _partition(request_id: str) -> str:
    return f"request#{digest(request_id)}"


def _header(exposure: Exposure) -> dict[str, Any]:
    return {name: getattr(exposure, name) for name in Exposure.__slots__ if name != "items"}


def _row(item: ShownItem) -> list[Any]:
    """Values of `_ITEM_FIELDS`; the last only where there is a team, as nearly no list has any."""
    return [getattr(item, name) for name in _ITEM_FIELDS[: 5 if item.team is None else 6]]


def _parts(exposure: Exposure, expires_at: int) -> tuple[list[Put], int]:
    """The records of one exposure (nearly always one) and an upper estimate of their bytes."""
    check_text("request_id", exposure.request_id)
    header = _header(exposure)
    groups: list[list[list[Any]]] = [[]]
    sizes = [_bytes(header)]
    for item in exposure.items:
        row = _row(item)
        # At most: six bytes of JSON per character.
        row_bytes = 6 * (len(item.product_id) + len(item.reason) + len(item.team or "")) + 80
        if groups[-1] and sizes[-1] + row_bytes > _MAX_PART_BYTES:
            groups.append([])
            sizes.append(0)
        groups[-1].append(row)
        sizes[-1] += row_bytes
    partition = _partition(exposure.request_id)
    puts = []
    for place, rows in enumerate(groups):
        head = {**header, "parts": len(groups)} if place == 0 else {}
        key = Key(partition, _SORT if place == 0 else f"{_SORT}#{place:03d}")
        puts.append(Put(key, {**head, "items": rows}, expires_at=expires_at))
    return puts, sum(sizes)


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
