"""What was shown to whom, by which variant and with what probability: the inference log, and its join with feedback.

Put exposures, their storage and their join here. Keep estimates made from them (off-policy evaluation, lift) in the
packages that analyse, and the event stream in ``lambda_api.state.event_sink``.

The table ``exposures`` keeps them for 30 days by request id (hashed into the key), so that a click can be explained
and joined at once; analysis reads the event stream.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lambda_api.state.addressing import MalformedRecord, check_text, digest
from lambda_api.state.encoding import MAX_WRITES
from lambda_api.state.history import StoredEvent
from lambda_api.state.table import Key, Put, Table

_SORT = "exposure"
_MAX_PART_BYTES = 200 * 1024  # of DynamoDB's 400 KB per record
_MAX_BATCH_BYTES = 3 * 1024 * 1024  # of its 4 MB per transaction
_ITEM_FIELDS = ("product_id", "score", "rank", "propensity", "reason")


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One product of a list. ``rank`` counts from 1; ``propensity``: the probability with which exploration put it
    there, ``None`` where nothing was drawn; ``reason`` is the reason's code."""

    product_id: str
    score: float
    rank: int
    propensity: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """One list as it was shown.

    Attributes:
        request_id: of the recommendation; feedback names it.
        at_ms: milliseconds since 1970 UTC.
        experiment, variant: by routing; ``variant_propensity`` is the variant's share, in [0, 1].
        model_version: ``baseline`` where no model took part.
        stage: how far the answer got: ``ranked``, ``candidates`` or ``popular``.
        cause: why it is not ranked; ``None`` if it is.
        context: page, device and the like; a plain dict.
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

    def to_json(self) -> dict[str, Any]:
        """A plain dict, items as dicts too; what the event stream carries. `from_json` reads it back."""
        items = [{name: getattr(item, name) for name in _ITEM_FIELDS} for item in self.items]
        return {**_header(self), "items": items}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Exposure":
        """Raises ``ValueError`` on missing or unknown fields."""
        try:
            return cls(**{**value, "items": tuple(ShownItem(**item) for item in value["items"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an exposure: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class JoinedItem:
    """A shown item and what the shopper did with it in answer to that list, oldest first; mostly nothing."""

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
        """Store them; an exposure of a known request id replaces it. May be repeated.

        One write for up to 100 exposures of ordinary size. A list too long for one record (1,000-character ids) is
        spread over several, and a batch too large for one transaction over several writes.

        Raises:
            ValueError: an empty request id, or a value that JSON cannot hold.
            TableUnavailable: the table failed; write them again.
        """
        expires_at = int(self._clock()) + self._ttl_s
        last = {exposure.request_id: exposure for exposure in exposures}
        batch: list[Put] = []
        size = 0
        for exposure in last.values():
            parts = _parts(exposure, expires_at)
            bytes_of_parts = sum(count for _, count in parts)
            if batch and (len(batch) + len(parts) > MAX_WRITES or size + bytes_of_parts > _MAX_BATCH_BYTES):
                self._table.write(batch)
                batch, size = [], 0
            batch += [put for put, _ in parts]
            size += bytes_of_parts
        if batch:
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
            # A longer list written before under this id may have left parts behind: only those counted are this one's.
            for record in others[: header.pop("parts") - 1]:
                rows += record.attributes["items"]
            return Exposure(**header, items=tuple(ShownItem(*row) for row in rows))
        except (KeyError, TypeError) as error:
            raise MalformedRecord(first.key, f"{type(error).__name__}: {error}") from error


def join_feedback(exposures: Iterable[Exposure], events: Iterable[StoredEvent]) -> list[JoinedItem]:
    """Every shown item with the events that answer it; items nobody touched have none. Pure.

    An event answers an item when it names the exposure's request id, its user and the item's product. Times are not
    compared: shoppers' clocks are wrong by minutes, and who knows the request id has seen the list. Repeated
    deliveries count once (exposures by request id, events by event id, the first of each). Order: exposures as given,
    items by rank, events by timestamp and then event id.
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


def _parts(exposure: Exposure, expires_at: int) -> list[tuple[Put, int]]:
    """The records of one exposure and about how many bytes each has; nearly always one."""
    check_text("request_id", exposure.request_id)
    header = _header(exposure)
    groups: list[list[list[Any]]] = [[]]
    sizes = [_bytes(header)]
    for item in exposure.items:
        row = [getattr(item, name) for name in _ITEM_FIELDS]
        row_bytes = 6 * (len(item.product_id) + len(item.reason)) + 80  # at most: six bytes of JSON per character
        if groups[-1] and sizes[-1] + row_bytes > _MAX_PART_BYTES:
            groups.append([])
            sizes.append(0)
        groups[-1].append(row)
        sizes[-1] += row_bytes
    partition = _partition(exposure.request_id)
    puts = []
    for place, (rows, size) in enumerate(zip(groups, sizes, strict=True)):
        head = {**header, "parts": len(groups)} if place == 0 else {}
        key = Key(partition, _SORT if place == 0 else f"{_SORT}#{place:03d}")
        puts.append((Put(key, {**head, "items": rows}, expires_at=expires_at), size))
    return puts


def _bytes(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
