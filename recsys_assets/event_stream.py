"""The event stream that serving writes, read back: lists shown and feedback, day by day.

A laptop writes ``<home>/events/<kind>/date=<UTC day>/*.jsonl``; on AWS the delivery stream writes the same folders,
gzipped, at the root of the lake's bucket. Delivery is at least once: readers take exposures by request id and feedback
by event id, once each.
"""

import io
import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import pyarrow.fs as pa_fs

from lambda_api.interactions import InteractionType
from lambda_api.settings import Settings
from lambda_api.state.event_sink import Kind
from lambda_api.state.exposures import Exposure
from lambda_api.state.history import StoredEvent
from recsys_assets.lake import open_filesystem

_FOLDER: Final = "events"
_DAY = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/")


def events_root(settings: Settings) -> str:
    """Path or URI of the event stream's folders."""
    if settings.target == "local":
        return str(settings.home / _FOLDER)
    bucket = settings.lake_uri.removeprefix("s3://").split("/")[0]
    return f"s3://{bucket}/{_FOLDER}"


def read_records(root: str, kind: Kind, first: date, last: date | None = None) -> Iterator[Any]:
    """Every record of one kind from the UTC day ``first`` to ``last`` (inclusive; ``None``: to the end), by file.

    ``None`` stands for a line that is no JSON. A last line without a line end is left out: its writer was killed within
    the record, or is still writing it.

    Raises:
        OSError: the folders cannot be read.
    """
    filesystem, path = open_filesystem(root)
    selector = pa_fs.FileSelector(f"{path}/{kind}", allow_not_found=True, recursive=True)
    files = sorted(info.path for info in filesystem.get_file_info(selector) if info.type == pa_fs.FileType.File)
    for file in files:
        found = _DAY.search(file)
        day = None if found is None else date.fromisoformat(found[1])
        if day is None or day < first or (last is not None and day > last):
            continue
        with filesystem.open_input_stream(file) as stream:
            for line in io.BufferedReader(stream):
                if not line.endswith(b"\n"):
                    continue
                try:
                    yield json.loads(line)
                except ValueError:
                    yield None


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
