"""The table port: keyed records with conditional, transactional writes, as both SQLite and DynamoDB offer them.

One conformance suite (``tests/state``) tests both adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lambda_api.errors import RecsysError

Attributes = Mapping[str, Any]
"""Attributes of a record: str, int, float, bool, None, list and dict of these, without NaN and infinity.

Values are read as written, in value and type; tuples are read as lists.
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
    """Write only if there is no record with this key; an expired one does not count."""


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
    """Remove the record at ``key``; a missing one is an error only if ``condition`` requires it."""

    key: Key
    condition: Condition | None = None


Write = Put | Delete


class ConditionFailed(RecsysError):
    """The condition of a write does not hold; nothing was written.

    Attributes:
        key: where the condition failed (the first, in a transaction).
        found: the record's attributes, or ``None`` if there was none.
        keys: all keys of the transaction whose condition is known to have failed, ``key`` first.
    """

    def __init__(self, key: Key, found: dict[str, Any] | None, *, keys: Sequence[Key] = ()) -> None:
        state = "no record" if found is None else f"{found}"
        super().__init__(f"condition failed at {key.partition}/{key.sort}: found {state}")
        self.key = key
        self.found = found
        self.keys = tuple(keys) or (key,)


class TableUnavailable(RecsysError):
    """The store could not serve the call (locked, throttled, unreachable, missing); the message says why.

    The call may be repeated. The message says so where a write may have happened.
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
            ConditionFailed: a condition does not hold; nothing was written.
            ValueError: more than 100 writes, two writes on one key, an attribute that JSON cannot hold, or a key or
                record that is too long (``lambda_api.state.encoding``).
        """

    def query(
        self, partition: str, *, prefix: str = "", newest_first: bool = False, limit: int | None = None
    ) -> list[Record]:
        """Records of ``partition`` whose sort key starts with ``prefix``, in sort order (reversed if ``newest_first``).

        Expired records never appear. ``limit`` counts records returned, after expiry.
        """
