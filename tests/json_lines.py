"""Reads the event stream of a laptop as its readers do."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lambda_api.state.event_sink import Kind

log = logging.getLogger(__name__)


def read_json_lines(folder: Path | str, kind: Kind) -> Iterator[dict[str, Any]]:
    """All records of one kind below a sink's folder, by day and file; an unfinished last line is skipped.

    Raises ``ValueError`` naming file and line for a line that is not a JSON object.
    """
    for path in sorted((Path(folder) / kind).glob("date=*/*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    log.warning("%s ends within a record; its writer was killed. The record is skipped", path)
                    continue
                try:
                    record = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: not JSON: {error}") from error
                if not isinstance(record, dict):
                    raise ValueError(f"{path}, line {number}: not a JSON object")
                yield record
