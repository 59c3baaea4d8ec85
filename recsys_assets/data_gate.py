"""The gate between raw and everything behind it: which deliveries may not be used yet, kept in the lake itself.

Put here what a reader of validated data must ask first, and what writers must tell. Keep the judgement itself
(``validation``) and Dagster out: a blocking asset check stops one run, this stops every later one, whatever started it.

A gate is a small JSON file under ``closed_gates/`` in the lake, one for each delivery that may not be used; no file
means open, so asking costs one listing however many days there are. A delivery passes through::

    write raw --> waiting --judged good--> validated --interactions written--> (open)
                     `-----judged bad----> closed          (products and users open as soon as they are judged good)
    source unreadable --> unreadable

``closed`` and ``unreadable`` end only when the delivery is written again. The previous good rows of such a day stay in
``interactions``; nobody may read them, because ``require_open`` refuses the day.
"""

import hashlib
import json
import posixpath
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa
import pyarrow.fs as pa_fs

from lambda_api.errors import RecsysError
from recsys_assets.lake import Lake, open_filesystem
from recsys_assets.verdict import FAILURE_SCHEMA, Verdict

State = Literal["waiting", "closed", "unreadable", "validated"]

TABLES = ("products", "users")
"""Whole tables that have a gate; every other subject is a day of interactions."""

VERDICTS = "quality_verdicts"
"""Lake table, by day: the day's failing rows (``FAILURE_SCHEMA``), and the verdict in the file's schema metadata."""

SHOWN = 10
"""Deliveries spelt out in one message; the rest are counted."""

_FOLDER = "closed_gates"
_VERDICT_KEY = b"recsys_verdict"


class GateClosed(RecsysError):
    """Data that was asked for may not be used. The message names each delivery, the rule, rows, example and remedy."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A delivery that may not be used.

    Attributes:
        subject: ISO date of a day of interactions, or ``products`` or ``users``.
        state: see the module's picture.
        messages: what is wrong, one sentence for each rule; empty unless ``closed`` or ``unreadable``.
        since: moment the gate took this state, ISO 8601, UTC.
    """

    subject: str
    state: State
    messages: tuple[str, ...]
    since: str

    @property
    def asset(self) -> str:
        """The raw asset that holds the delivery."""
        return self.subject if self.subject in TABLES else "raw_interactions"

    def describe(self) -> str:
        """The delivery, what is wrong with it, and the remedy."""
        where = self.asset if self.subject in TABLES else f"{self.asset} {self.subject}"
        again = f"materialise {where} again, with its checks"
        if self.state == "waiting":
            return f"{where}: delivered but not judged yet. Remedy: {again}."
        if self.state == "validated":
            return f"{where}: judged good but not in interactions yet. Remedy: materialise interactions for it."
        return f"{where}: {' '.join(self.messages)} Then {again}."


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """What ``record_verdict`` kept of a day.

    Attributes:
        checksum: SHA-256 of the raw file that was judged.
        failures: rows that may not be used, ``FAILURE_SCHEMA``.
        outcomes: one mapping per rule, the fields of `recsys_assets.quality.validation.Outcome`.
        judged_at: ISO 8601, UTC.
    """

    checksum: str
    failures: pa.Table
    outcomes: tuple[dict[str, Any], ...]
    judged_at: str


def require_open(lake: Lake, start: date | None = None, end: date | None = None) -> None:
    """Refuse to go on while a delivery that the caller would read may not be used. Call it before reading.

    Args:
        lake: the lake to be read.
        start, end: days with ``start <= day < end`` are asked for; by default all. Products and users always are.

    Raises:
        GateClosed: at least one gate is not open.
    """
    shut = [
        gate
        for gate in closed_gates(lake)
        if gate.subject in TABLES
        or ((start is None or gate.subject >= start.isoformat()) and (end is None or gate.subject < end.isoformat()))
    ]
    if shut:
        raise GateClosed(explain(shut))


def explain(gates: Sequence[Gate]) -> str:
    """One message for closed gates: bad deliveries first, each spelt out; mere waiting summed up where it is much."""
    bad = [gate for gate in gates if gate.messages]
    other = [gate for gate in gates if not gate.messages]
    lines = [gate.describe() for gate in bad[:SHOWN]]
    if len(bad) > SHOWN:
        lines.append(f"... and {len(bad) - SHOWN} more: {', '.join(gate.subject for gate in bad[SHOWN:])}.")
    for state in ("waiting", "validated"):
        alike = [gate for gate in other if gate.state == state]
        if len(alike) > 3:
            first, last = alike[0], alike[-1]
            lines.append(
                f"{len(alike)} deliveries from {first.subject} to {last.subject}, the first being {first.describe()}"
            )
        else:
            lines += [gate.describe() for gate in alike]
    head = f"{len(gates)} deliver{'y' if len(gates) == 1 else 'ies'} may not be used"
    return "\n - ".join([head + ":", *lines])


def closed_gates(lake: Lake) -> list[Gate]:
    """Every gate that is not open, ordered by subject (days first)."""
    filesystem, root = open_filesystem(lake.root)
    selector = pa_fs.FileSelector(f"{root}/{_FOLDER}", allow_not_found=True)
    names = [info.path for info in filesystem.get_file_info(selector) if info.base_name.endswith(".json")]
    return [_read_gate(filesystem, path) for path in sorted(names)]


def find_gate(lake: Lake, subject: date | str) -> Gate | None:
    """The gate of one delivery; ``None`` when it is open."""
    filesystem, path = _place(lake, subject)
    return _read_gate(filesystem, path) if _exists(filesystem, path) else None


def hold(lake: Lake, subject: date | str) -> None:
    """Say that a new delivery is being written and nobody may use it until it is judged. Call before writing."""
    _write_gate(lake, subject, "waiting", ())


def close_unreadable(lake: Lake, subject: date | str, message: str) -> None:
    """Say that the newest delivery could not even be read; what is stored is older than it."""
    _write_gate(lake, subject, "unreadable", (message,))


def open_gate(lake: Lake, subject: date | str) -> None:
    """Say that a delivery may be used: for a day, that ``interactions`` holds its accepted rows now."""
    filesystem, path = _place(lake, subject)
    if _exists(filesystem, path):
        filesystem.delete_file(path)


def record_verdict(lake: Lake, verdict: Verdict, checksum: str = "") -> None:
    """Keep a verdict and move its gate accordingly. The gate moves last: a crash in between leaves it shut.

    Args:
        lake: where the delivery is.
        verdict: of a day, or of products or users.
        checksum: of the raw file that was judged (`delivery_checksum`); days only.
    """
    blocking = tuple(outcome.message for outcome in verdict.blocking)
    if isinstance(verdict.subject, date):
        record = {
            "checksum": checksum,
            "judged_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "outcomes": [asdict(outcome) for outcome in verdict.outcomes],
        }
        failures = verdict.failures.replace_schema_metadata({_VERDICT_KEY: json.dumps(record).encode()})
        lake.write_day(VERDICTS, verdict.subject, failures)
    if blocking:
        _write_gate(lake, verdict.subject, "closed", blocking)
    elif isinstance(verdict.subject, date):
        _write_gate(lake, verdict.subject, "validated", ())
    else:
        open_gate(lake, verdict.subject)


def stored_verdict(lake: Lake, day: date) -> StoredVerdict | None:
    """The last verdict of a day; ``None`` when it was never judged."""
    if not lake.files(VERDICTS, day, day + timedelta(days=1)):
        return None
    table = lake.read(VERDICTS, start=day, end=day + timedelta(days=1))
    record = json.loads(table.schema.metadata[_VERDICT_KEY])
    failures = table.replace_schema_metadata(None).cast(FAILURE_SCHEMA)
    return StoredVerdict(record["checksum"], failures, tuple(record["outcomes"]), record["judged_at"])


def delivery_checksum(lake: Lake, day: date) -> str:
    """SHA-256 of a day's file in ``raw_interactions``, hexadecimal. Raises ``FileNotFoundError`` without one."""
    filesystem, root = open_filesystem(lake.root)
    path = f"{root}/raw_interactions/date={day.isoformat()}/part-0.parquet"
    with filesystem.open_input_stream(path) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _place(lake: Lake, subject: date | str) -> tuple[pa_fs.FileSystem, str]:
    filesystem, root = open_filesystem(lake.root)
    return filesystem, f"{root}/{_FOLDER}/{subject.isoformat() if isinstance(subject, date) else subject}.json"


def _exists(filesystem: pa_fs.FileSystem, path: str) -> bool:
    return bool(filesystem.get_file_info(path).type == pa_fs.FileType.File)


def _read_gate(filesystem: pa_fs.FileSystem, path: str) -> Gate:
    with filesystem.open_input_stream(path) as stream:
        fields = json.loads(stream.read())
    return Gate(fields["subject"], fields["state"], tuple(fields["messages"]), fields["since"])


def _write_gate(lake: Lake, subject: date | str, state: State, messages: tuple[str, ...]) -> None:
    filesystem, path = _place(lake, subject)
    name = subject.isoformat() if isinstance(subject, date) else subject
    gate = Gate(name, state, messages, datetime.now(UTC).isoformat(timespec="seconds"))
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    temporary = f"{posixpath.dirname(path)}/_writing-{uuid.uuid4().hex}"
    try:
        with filesystem.open_output_stream(temporary) as stream:
            stream.write(json.dumps(asdict(gate), ensure_ascii=False, indent=1).encode())
        filesystem.move(temporary, path)
    except BaseException:
        if _exists(filesystem, temporary):
            filesystem.delete_file(temporary)
        raise
