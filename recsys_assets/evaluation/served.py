"""Lists that were served and what their shoppers did then, for the evaluation report: a bounded sample."""

import hashlib
import heapq
from dataclasses import dataclass, field
from datetime import datetime

from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent
from recsys_assets.event_stream import event_of, exposure_of, read_records

MAX_LISTS = 20_000
"""Lists kept in memory, at most; a fixed random sample where there are more."""


@dataclass(frozen=True)
class ServedLog:
    """Lists that were shown and the events of the shoppers who saw them.

    Attributes:
        exposures: the lists, at most as many as asked for, oldest first.
        events: every event of their shoppers in the same days, whether or not it answers a list; oldest first.
        lists: how many lists there were.
        unreadable: records that are no exposure or no feedback of this version; left out.
    """

    exposures: tuple[Exposure, ...] = field(repr=False)
    events: tuple[StoredEvent, ...] = field(repr=False)
    lists: int
    unreadable: int


def read_served(root: str, since: datetime, most: int = MAX_LISTS) -> ServedLog:
    """Lists shown at or after ``since`` (aware, UTC) and what their shoppers did in those days.

    Empty where nothing was served. Memory is bounded by ``most``, however long the stream.

    Raises:
        OSError: the folders cannot be read.
    """
    unreadable = 0
    # The lists with the smallest digests of their ids: a sample that does not depend on order or repetition.
    kept: list[tuple[int, str]] = []
    chosen: dict[str, Exposure] = {}
    seen: set[int] = set()
    for record in read_records(root, "exposure", since.date()):
        exposure = exposure_of(record)
        if exposure is None:
            unreadable += 1
            continue
        place = _place(exposure.request_id)
        if exposure.at_ms < since.timestamp() * 1000 or place in seen:
            continue
        seen.add(place)
        chosen[exposure.request_id] = exposure
        heapq.heappush(kept, (-place, exposure.request_id))
        if len(kept) > most:
            del chosen[heapq.heappop(kept)[1]]
    shoppers = {exposure.user_id for exposure in chosen.values()}
    events: dict[str, StoredEvent] = {}
    for record in read_records(root, "feedback", since.date()) if shoppers else ():
        event = event_of(record)
        if event is None:
            unreadable += 1
        elif event.user_id in shoppers:
            events.setdefault(event.event_id, event)
    return ServedLog(
        exposures=tuple(sorted(chosen.values(), key=lambda one: (one.at_ms, one.request_id))),
        events=tuple(sorted(events.values(), key=lambda one: (one.timestamp, one.event_id))),
        lists=len(seen),
        unreadable=unreadable,
    )


def _place(request_id: str) -> int:
    return int.from_bytes(hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).digest()[:8], "big")
