"""The data gate: records in the lake which deliveries may not be used yet.

A blocking asset check stops one run; the gate stops every later run too, whatever started it. A gate is a small JSON
file under ``closed_gates/`` in the lake for each delivery that may not be used; no file means open. The states are::

    write raw --> waiting --validated, good--> validated --interactions written--> (open)
                     `-----validated, bad----> closed    (products and users open as soon as they are validated)
    source unreadable --> unreadable

``closed`` and ``unreadable`` end when the delivery is written again. The earlier good rows of such a day stay in
``interactions``, but ``require_open`` refuses the day, so nobody reads them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Literal

import pyarrow as pa
import pyarrow.fs as pa_fs

from lambda_api.errors import RecsysError
from recsys_assets.lake import Lake, LakeError, open_filesystem
from recsys_assets.verdict import FAILURE_SCHEMA, Verdict

State = Literal["waiting", "closed", "unreadable", "validated"]

TABLES = ("products", "users")
"""Whole tables that have a gate; every other subject is a day of interactions."""

VERDICTS = "quality_verdicts"
"""Lake table, by day: the day's failing rows (``FAILURE_SCHEMA``); the checksum of the raw file is in the file's schema
metadata."""

MAX_LISTED = 10
"""Deliveries described in one message; the rest are counted."""

_FOLDER = "closed_gates"
_CHECKSUM_KEY = b"recsys_raw_checksum"


class GateClosed(RecsysError):
    """Data may not be used. The message names each delivery, the rule, the rows, an example and the remedy."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A delivery that may not be used.

    Attributes:
        subject: ISO date of a day of interactions, or ``products`` or ``users``.
        state: see the diagram in the module's docstring.
        messages: what is wrong, one sentence for each rule; empty unless ``closed`` or ``unreadable``.
        since: moment the gate took this state, ISO 8601, UTC.
    """

    subject: str
    state: State
    messages: tuple[str, ...]
    since: str

    def describe(self) -> str:
        """The delivery, what is wrong with it, and the remedy."""
        where = self.subject if self.subject in TABLES else f"raw_interactions {self.subject}"
        again = f"materialise {where} again, with its checks"
        if self.state == "waiting":
            return f"{where}: delivered but not validated yet. Remedy: {again}."
        if self.state == "validated":
            return f"{where}: validated but not in interactions yet. Remedy: materialise interactions for it."
        return f"{where}: {' '.join(self.messages)} Then {again}."


def require_open(lake: Lake, start: date | None = None, end: date | None = None) -> None:
    """Raise `GateClosed` if a delivery that the caller is about to read may not be used.

    Days with ``start <= day < end`` are checked, by default all; products and users always are.
    """
    closed = [
        gate
        for gate in closed_gates(lake)
        if gate.subject in TABLES
        or ((start is None or gate.subject >= start.isoformat()) and (end is None or gate.subject < end.isoformat()))
    ]
    if closed:
        raise GateClosed(describe_gates(closed))


def describe_gates(gates: Sequence[Gate]) -> str:
    """One message for closed gates: bad deliveries first, one by one; many waiting deliveries as one line."""
    bad = [gate for gate in gates if gate.messages]
    lines = [gate.describe() for gate in bad[:MAX_LISTED]]
    if len(bad) > MAX_LISTED:
        lines.append(f"... and {len(bad) - MAX_LISTED} more: {', '.join(gate.subject for gate in bad[MAX_LISTED:])}.")
    for state in ("waiting", "validated"):
        alike = [gate for gate in gates if gate.state == state]
        if len(alike) > 3:
            span = f"{len(alike)} deliveries from {alike[0].subject} to {alike[-1].subject}"
            lines.append(f"{span}, the first being {alike[0].describe()}")
        else:
            lines += [gate.describe() for gate in alike]
    return "\n - ".join([f"{len(gates)} deliver{'y' if len(gates) == 1 else 'ies'} may not be used:", *lines])


def closed_gates(lake: Lake) -> list[Gate]:
    """Every gate that is not open, ordered by subject (days first)."""
    filesystem, root = open_filesystem(lake.root)
    selector = pa_fs.FileSelector(f"{root}/{_FOLDER}", allow_not_found=True)
    names = [info.path for info in filesystem.get_file_info(selector) if info.base_name.endswith(".json")]
    return [_read_gate(filesystem, path) for path in sorted(names)]


def mark_waiting(lake: Lake, subject: date | str) -> None:
    """Record that a new delivery may not be used until it is validated. Call before writing it."""
    _write_gate(lake, subject, "waiting", ())


def mark_unreadable(lake: Lake, subject: date | str, message: str) -> None:
    """Record that the newest delivery could not be read; what is stored is an older one."""
    _write_gate(lake, subject, "unreadable", (message,))


def open_gate(lake: Lake, subject: date | str) -> None:
    """Record that a delivery may be used: for a day, that ``interactions`` holds its accepted rows."""
    filesystem, root = open_filesystem(lake.root)
    path = f"{root}/{_FOLDER}/{subject}.json"
    if filesystem.get_file_info(path).type == pa_fs.FileType.File:
        filesystem.delete_file(path)


def record_verdict(lake: Lake, verdict: Verdict, checksum: str = "") -> None:
    """Store a verdict, then set the gate. The gate is set last, so a crash in between leaves it closed.

    Args:
        checksum: of the raw file that was validated (`delivery_checksum`); days only.
    """
    blocking = tuple(outcome.message for outcome in verdict.blocking)
    if isinstance(verdict.subject, date):
        failures = verdict.failures.replace_schema_metadata({_CHECKSUM_KEY: checksum.encode()})
        lake.write_day(VERDICTS, verdict.subject, failures)
    if blocking:
        _write_gate(lake, verdict.subject, "closed", blocking)
    elif isinstance(verdict.subject, date):
        _write_gate(lake, verdict.subject, "validated", ())
    else:
        open_gate(lake, verdict.subject)


def stored_failures(lake: Lake, day: date, checksum: str | None = None) -> pa.Table | None:
    """Failing rows of a day by its last verdict, ``FAILURE_SCHEMA``.

    Returns:
        ``None`` when the day was never validated or, given the raw file's ``checksum``, when another file was.
    """
    try:
        table = lake.read_day(VERDICTS, day)
    except LakeError:  # never validated
        return None
    # A verdict of an older version has no checksum here; its day is validated again.
    validated = (table.schema.metadata or {}).get(_CHECKSUM_KEY, b"").decode()
    if checksum is not None and checksum != validated:
        return None
    return table.replace_schema_metadata(None).cast(FAILURE_SCHEMA)


def delivery_checksum(lake: Lake, day: date) -> str:
    """SHA-256 of a day's file in ``raw_interactions``, hexadecimal. Raises ``FileNotFoundError`` without one."""
    filesystem, root = open_filesystem(lake.root)
    path = f"{root}/raw_interactions/date={day.isoformat()}/part-0.parquet"
    with filesystem.open_input_stream(path) as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _read_gate(filesystem: pa_fs.FileSystem, path: str) -> Gate:
    with filesystem.open_input_stream(path) as stream:
        fields = json.loads(stream.read())
    return Gate(fields["subject"], fields["state"], tuple(fields["messages"]), fields["since"])


def _write_gate(lake: Lake, subject: date | str, state: State, messages: tuple[str, ...]) -> None:
    gate = Gate(str(subject), state, messages, datetime.now(UTC).isoformat(timespec="seconds"))
    lake.write_file(f"{_FOLDER}/{subject}.json", json.dumps(asdict(gate), ensure_ascii=False, indent=1).encode())
