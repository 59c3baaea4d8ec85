"""The event stream that serving writes, read back: lists shown and feedback, day by day.

A laptop writes ``<home>/events/<kind>/date=<UTC day>/*.jsonl``; on AWS the delivery stream writes the same folders,
gzipped, at the root of the lake's bucket. Delivery is at least once: readers take exposures by request id and feedback
by event id, once each.
"""

import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.fs as pa_fs

from lambda_api.interactions import InteractionType
from lambda_api.settings import Settings
from lambda_api.state.event_sink import Kind
from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent
from recsys_assets.lake import open_filesystem

ATTRIBUTION_S: Final = 86_400
"""An event answers a list when it names it and happens within so many seconds after it was shown."""

FINGERPRINT: Final = b"recsys_stream"
"""Key of the metadata that names the files of the stream that a table was made of."""

_FOLDER: Final = "events"
_DAY = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/")


def events_root(settings: Settings) -> str:
    """Path or URI of the event stream's folders."""
    if settings.target == "local":
        return str(settings.home / _FOLDER)
    bucket = settings.lake_uri.removeprefix("s3://").split("/")[0]
    return f"s3://{bucket}/{_FOLDER}"


@dataclass(frozen=True, slots=True)
class StreamFile:
    """A file of the stream: its name below the root, the UTC day it arrived on, a stamp that changes as it grows."""

    name: str
    day: date
    stamp: str


def stream_files(root: str, kind: Kind, first: date = date.min, last: date = date.max) -> list[StreamFile]:
    """Files of one kind that arrived from the UTC day ``first`` to ``last`` (inclusive), by name.

    Only the folders of these days are listed: a stream grows for years. Raises ``OSError`` where they cannot be read.
    """
    filesystem, path = open_filesystem(root)
    found = []
    for folder in filesystem.get_file_info(pa_fs.FileSelector(f"{path}/{kind}", allow_not_found=True)):
        day = arrival_day(f"{folder.path}/")
        if day is None or not first <= day <= last:
            continue
        within = pa_fs.FileSelector(folder.path, allow_not_found=True, recursive=True)
        for info in filesystem.get_file_info(within):
            if info.type == pa_fs.FileType.File:
                name = info.path.removeprefix(f"{path}/")
                found.append(StreamFile(name, day, f"{info.size}-{info.mtime_ns}"))
    return sorted(found, key=lambda file: file.name)


def by_day(files: Iterable[StreamFile]) -> dict[date, list[StreamFile]]:
    """Files by the day they arrived on, days and files in the order given."""
    days: dict[date, list[StreamFile]] = defaultdict(list)
    for file in files:
        days[file.day].append(file)
    return days


def arrival_day(path: str) -> date | None:
    """The UTC day on which the events of a file arrived, from its path; ``None`` where that names no day."""
    day = _DAY.search(path)
    return date.fromisoformat(day[1]) if day else None


def fingerprint(files: Iterable[tuple[str, str | int]]) -> str:
    """Changes when the stamp or size of one of the files (name, stamp or size) changes, or others are named."""
    return hashlib.sha256(json.dumps(list(files)).encode()).hexdigest()[:16]


def read_file(root: str, file: StreamFile) -> Iterator[tuple[str, Any]]:
    """Every line of a file with its record, ``None`` where it is no JSON.

    A last line without a line end is left out: its writer was killed within the record, or is still writing it.
    """
    filesystem, path = open_filesystem(root)
    with filesystem.open_input_stream(f"{path}/{file.name}") as stream:
        for line in io.BufferedReader(stream):
            if line.endswith(b"\n"):
                text = line.decode("utf-8", "replace")
                try:
                    yield text, json.loads(line)
                except ValueError:
                    yield text, None


def marked(table: pa.Table, fingerprint: str) -> pa.Table:
    """``table`` with the fingerprint of the files that it was made of."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), FINGERPRINT: fingerprint.encode()})


def read_records(root: str, kind: Kind, first: date, last: date = date.max) -> Iterator[Any]:
    """Every record of one kind that arrived from the UTC day ``first`` to ``last`` (inclusive).

    ``None`` stands for a line that is no JSON. Raises ``OSError`` where the folders cannot be read.
    """
    for file in stream_files(root, kind, first, last):
        for _, record in read_file(root, file):
            yield record


def exposure_of(record: Any) -> Exposure | None:
    """The list that a record of kind ``exposure`` describes; ``None`` where it is none of this version."""
    try:
        return Exposure.from_json({name: value for name, value in record.items() if name != "kind"})
    except (AttributeError, ValueError):
        return None


def event_of(record: Any) -> StoredEvent | None:
    """The event that a record of kind ``feedback`` describes; ``None`` where it is none of this version."""
    try:
        content = {name: value for name, value in record.items() if name != "kind"}
        return StoredEvent(**{**content, "interaction_type": InteractionType.from_label(content["interaction_type"])})
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
