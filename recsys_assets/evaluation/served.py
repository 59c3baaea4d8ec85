"""What serving wrote of the lists it showed and of what shoppers did then: the event stream's folders, read back.

Put the reading of served lists for analysis here. Keep their writing (``lambda_api.state.event_sink``), their join
(``lambda_api.state.exposures``) and what is made of them (``business``) out.

A laptop writes ``<home>/events/<kind>/date=<day>/*.jsonl``; on AWS the delivery stream writes the same folders,
gzipped, at the root of the lake's bucket. Delivery is at least once, so records are taken once by their ids.
"""

import hashlib
import heapq
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow.fs as pa_fs

from lambda_api.interactions import InteractionType
from lambda_api.settings import Settings
from lambda_api.state.event_sink import Kind
from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent
from recsys_assets.lake import open_filesystem

MOST_LISTS = 20_000
"""Lists kept in memory, at most; a fixed random sample where there are more."""

_FOLDER = "events"
_DAY = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/")


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


def events_root(settings: Settings) -> str:
    """Path or URI of the event stream's folders."""
    if settings.target == "local":
        return str(settings.home / _FOLDER)
    bucket = settings.lake_uri.removeprefix("s3://").split("/")[0]
    return f"s3://{bucket}/{_FOLDER}"


def read_served(root: str, since: datetime, most: int = MOST_LISTS) -> ServedLog:
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
    for record in _records(root, "exposure", since.date()):
        exposure = _exposure(record)
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
    for record in _records(root, "feedback", since.date()) if shoppers else ():
        event = _event(record)
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


def _records(root: str, kind: Kind, first: date) -> Iterator[Any]:
    """Every record of one kind from the UTC day ``first`` on; ``None`` for a line that is no JSON."""
    filesystem, path = open_filesystem(root)
    selector = pa_fs.FileSelector(f"{path}/{kind}", allow_not_found=True, recursive=True)
    files = sorted(info.path for info in filesystem.get_file_info(selector) if info.type == pa_fs.FileType.File)
    for file in files:
        day = _DAY.search(file)
        if day is None or date.fromisoformat(day[1]) < first:
            continue
        with filesystem.open_input_stream(file) as stream:
            for line in io.BufferedReader(stream):
                if not line.endswith(b"\n"):
                    continue  # its writer was killed within the record, or is still writing it
                try:
                    yield json.loads(line)
                except ValueError:
                    yield None


def _exposure(record: Any) -> Exposure | None:
    try:
        return Exposure.from_json({name: value for name, value in record.items() if name != "kind"})
    except (AttributeError, ValueError):
        return None


def _event(record: Any) -> StoredEvent | None:
    try:
        content = {name: value for name, value in record.items() if name != "kind"}
        return StoredEvent(**{**content, "interaction_type": InteractionType.from_label(content["interaction_type"])})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _place(request_id: str) -> int:
    return int.from_bytes(hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).digest()[:8], "big")
