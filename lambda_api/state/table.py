"""The table port: keyed records with conditional, transactional writes; what SQLite and DynamoDB have in common.

Put only what both adapters can honour exactly here; one conformance suite (``tests/state``) holds them to it.
Keep what the records mean (registry, routing, history) in the modules that use the port.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_api.errors import RecsysError

Attributes = Mapping[str, Any]
"""JSON-able attributes of a record: str, int, float, bool, None, list and dict of these. No NaN or infinity.

What is read equals what was written in value and type; tuples come back as lists.
"""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Address of a record: all records of one ``partition`` are sorted by ``sort`` (UTF-8 byte order)."""

    partition: str
    sort: str


@dataclass(frozen=True, slots=True)
class Record:
    """A stored record. ``attributes`` never repeat the key."""

    key: Key
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Absent:
    """Write only if no record (or only an expired one) has this key."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Write only if a record has this key and its named top-level attributes equal these values.

    Equal means of one type and value: ``1``, ``1.0`` and ``True`` differ, and ``None`` is not a missing attribute.
    """

    attributes: Attributes


Condition = Absent | Matches


@dataclass(frozen=True, slots=True)
class Put:
    """Replace the record at ``key``; ``expires_at`` (seconds since 1970 UTC) hides it from then on."""

    key: Key
    attributes: Attributes
    condition: Condition | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the record at ``key``; removing nothing is no error unless ``condition`` says so."""

    key: Key
    condition: Condition | None = None


Write = Put | Delete


class ConditionFailed(RecsysError):
    """A conditional write found another state than it asked for; nothing was written.

    Attributes:
        key: where the condition failed (the first, in a transaction).
        found: the record's attributes at that moment, or ``None`` if there was none.
        keys: every key of the transaction whose condition is known to have failed, ``key`` first.
    """

    def __init__(self, key: Key, found: dict[str, Any] | None, *, keys: Sequence[Key] = ()) -> None:
        state = "no record" if found is None else f"{found}"
        super().__init__(f"condition failed at {key.partition}/{key.sort}: found {state}")
        self.key = key
        self.found = found
        self.keys = tuple(keys) or (key,)


class TableUnavailable(RecsysError):
    """The store could not serve the call (locked, throttled, unreachable, missing); the message says which and why.

    The call may be repeated. Where the store could not even be asked whether the write happened, the message says so.
    """


class Table(Protocol):
    """One table. Every call is atomic and may be repeated; writes are durable when the call returns.

    Every call may raise `TableUnavailable`.
    """

    def get(self, key: Key) -> Record | None:
        """The record at ``key`` (strongly consistent), or ``None`` when absent or expired."""

    def write(self, writes: Sequence[Write]) -> None:
        """Apply all writes or none.

        Raises:
            ConditionFailed: one of the conditions does not hold; nothing was written.
            ValueError: more than 100 writes, two on one key (DynamoDB refuses both), an attribute is not JSON-able, or
                a key or record is longer than DynamoDB takes (``lambda_api.state.encoding``).
        """

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        """Records of ``partition`` whose sort key starts with ``prefix``, in sort order (reversed if ``newest_first``).

        Expired records never appear. ``limit`` counts records returned, after expiry.
        """
